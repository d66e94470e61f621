/** The panels beside the map: one picture, the selection, clusters, duplicates, outliers. */
import { css, ofClass } from "./colours.js";
import { column, commonest, relabel, tally } from "./columns.js";
import { counted, fill, h } from "./element.js";
import { csv, download } from "./lists.js";
import { button, chances, facts, say, similarity, tile, tiles, trouble, waiting } from "./pieces.js";
import { source } from "./source.js";
import { store } from "./store.js";

const SHOWN = 60; // tiles of a selection
const GROUPS = 100; // of duplicates
const VALUES = 40; // of the key, until all are asked for

/** One picture: itself, what is known of it, and its neighbours in each run. */
export async function picture(place, id, { open, go }) {
  const { side: turned } = store;
  const name = await source.name(id);
  const sides = store.facts.sides;
  const select = button(chosen(id), () => store.select([id], store.selected[id] ? "remove" : "add"), "toggle");
  const near = sides.map(() => h("div", {}, waiting("Looking for its neighbours …")));
  const known = await facts(turned, id);
  if (store.shown !== id || store.side !== turned) return; // another one was opened meanwhile
  const held = document.activeElement === document.body || place.contains(document.activeElement);
  fill(
    place,
    h("figure", { className: "large" }, h("img", { src: source.picture(id), alt: name })),
    h("h2", { className: "name", tabIndex: -1 }, h("bdi", {}, name)),
    known,
    h("div", { className: "row" }, button("Show on the map", () => go(id)), select),
    ...sides.flatMap((side, number) => [
      h("h3", {}, "Nearest pictures", sides.length > 1 ? h("bdi", { className: "run" }, side.title) : null),
      near[number],
    ]),
  );
  place.scrollTop = 0;
  if (held) place.querySelector("h2").focus({ preventScroll: true }); // what had the focus is no more
  sides.forEach(async (_, side) => {
    try {
      const found = await source.neighbours(side, id);
      near[side].replaceChildren(neighbours(found, open));
    } catch (error) {
      near[side].replaceChildren(trouble(error.message));
    }
  });
}

/** What the button does that changes whether a picture is selected. */
export const chosen = (id) => (store.selected[id] ? "Take out of the selection" : "Add to the selection");

export function neighbours(found, open) {
  const ids = found.map((one) => one.id);
  return h(
    "div",
    {},
    tiles(ids, open, found.map((one) => similarity(one.score))),
    ids.length ? button("Select these", () => store.select(ids)) : h("p", { className: "empty" }, "There is no other picture."),
  );
}

/** What the server found for a picture that was dropped on the page. */
export function asked(place, address, answer, { open }) {
  fill(place, 
    h("figure", { className: "large" }, h("img", { src: address, alt: "The picture that you gave" })),
    h("h2", {}, "Your picture"),
    ...(answer.classes ? [h("h3", {}, "What the classifier says"), chances(answer.classes)] : []),
    h("h3", {}, "Nearest pictures"),
    neighbours(answer.neighbours, open),
  );
}

/** The selected pictures: look, label, keep as a list. */
export async function selection(place, { open }) {
  const labels = await column(0, "label");
  const ids = store.selection(); // as it is by now
  if (!ids.length) {
    fill(place, 
      h("p", { className: "empty" }, "Nothing is selected. Draw a lasso around pictures (L), click a colour of the key, or press S for everything in sight."),
    );
    return;
  }
  const options = h("datalist", { id: "known" }, ...labels.values.map((value) => h("option", { value })));
  const typed = place.querySelector("input");
  const held = typed !== null && document.activeElement === typed;
  const word = h("input", { name: "label", autocomplete: "off", maxLength: 200, ariaLabel: "Label", placeholder: "A label, such as cat" });
  Object.assign(word, { value: typed?.value ?? "", required: true, pattern: ".*\\S.*" });
  word.setAttribute("list", "known");
  const onsubmit = async (event) => {
    event.preventDefault();
    if (await give(ids, word.value.trim())) word.value = "";
  };
  const form = h("form", { className: "row grow", onsubmit }, word, options, h("button", { className: "main" }, "Label"));
  const list = h("div", { className: "tiles" }, ...ids.slice(0, SHOWN).map((id) => tile(id, open)));
  const keep = button("Save as a list", async () => download("selection.csv", await csv(ids)));
  fill(place, 
    h("h2", {}, counted(ids.length), " selected"),
    form,
    h("div", { className: "row" }, keep, ...saved(), button("Remove labels", () => give(ids, "")), button("Clear", () => store.select([]))),
    h("p", { className: "empty" }, "A list names pictures as DATA does: to train on it, put it into that folder."),
    list,
    ids.length > SHOWN ? h("p", { className: "empty" }, `and ${(ids.length - SHOWN).toLocaleString("en")} more`) : null,
  );
  if (held) word.focus();
}

const saved = () => (source.label ? [] : [button("Save labels.csv", async () => download("labels.csv", await csv(await labelled())))]);

async function labelled() {
  const { data } = await column(0, "label");
  return Array.from(data.keys()).filter((id) => data[id] >= 0);
}

/** Label pictures, "" for none; whether that was done. */
async function give(ids, label) {
  try {
    const told = source.label ? await source.label(ids, label) : null;
    await relabel(ids, label);
    const done = label ? `${counted(ids.length)} labelled “${label}”.` : `${counted(ids.length)} without a label now.`;
    say(told ? `${done} ${told.file} holds ${counted(told.labelled, "label")}.` : `${done} Save labels.csv to keep that.`);
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}

/** One of the panels below, which may take long; what comes when it shows something else by then is left out. */
export async function computed(place, name, side, hands) {
  const note = waiting("Being computed …");
  const made = h("div");
  place.dataset.side = side;
  place.replaceChildren(note);
  try {
    await { clusters, duplicates, outliers }[name](made, side, hands);
  } catch (error) {
    if (note.isConnected) delete place.dataset.side;
    fill(made, trouble(error.message));
  }
  if (note.isConnected) place.replaceChildren(...made.childNodes);
}

/** Groups that k-means found. */
async function clusters(place, side, { open, select, dark }) {
  const asked = [source.json(`clusters-${side}`), column(side, "cluster"), column(side, "label")];
  const [groups, own, labels] = await Promise.all(asked);
  const mostly = commonest(own, labels);
  const cards = groups.map(({ size, examples }, number) =>
    h(
      "section",
      { className: "card" },
      h(
        "header",
        {},
        h("i", { className: "dot", style: { "--own": css(ofClass(number, dark)) } }),
        h("h3", {}, `Cluster ${number + 1}`),
        h("small", {}, counted(size)),
        button("Select", () => select(own, number)),
      ),
      said(mostly[number]),
      tiles(examples, open),
    ),
  );
  fill(place, h("p", { className: "empty" }, "Found by k-means in the vectors, without labels; those nearest to a centre are shown."), ...cards);
}

const said = (most) =>
  most && h("p", {}, `${(100 * most.share).toFixed(0)} % of the labelled are `, h("bdi", {}, h("b", {}, most.label)));

/** Pictures that are the same, or nearly. */
async function duplicates(place, side, { open }) {
  const groups = await source.json(`duplicates-${side}`);
  if (groups.command) {
    fill(place, h("p", { className: "empty" }, "So many pictures are not compared here. This command does it: "), h("code", {}, groups.command));
    return;
  }
  const cards = groups.slice(0, GROUPS).map((ids) =>
    h(
      "section",
      { className: "card" },
      h("header", {}, h("h3", {}, counted(ids.length)), button("Select", () => store.select(ids))),
      tiles(ids.slice(0, 12), open),
    ),
  );
  const all = groups.flatMap((ids) => ids.slice(1));
  fill(place, 
    h("p", { className: "empty" }, groups.length ? `${counted(groups.length, "group")} of pictures that show the same: one file twice, or alike cell by cell.` : "No two pictures show the same."),
    all.length ? h("div", { className: "row" }, button(`Select all but the first of each (${all.length})`, () => store.select(all))) : null,
    ...cards,
    groups.length > GROUPS ? h("p", { className: "empty" }, `and ${groups.length - GROUPS} more groups`) : null,
  );
}

/** Pictures that are like no other. */
async function outliers(place, side, { open }) {
  const found = await source.json(`outliers-${side}`);
  fill(place, 
    h("p", { className: "empty" }, "The pictures that are least like any other; the number is the mean cosine to their nearest."),
    tiles(found.map((one) => one.id), open, found.map((one) => similarity(one.score))),
    found.length ? h("div", { className: "row" }, button("Select these", () => store.select(found.map((one) => one.id)))) : null,
  );
}

/** The key of the colours: a click on one selects its pictures. */
export function key(place, column, dark, select) {
  place.previousElementSibling.textContent = column.title;
  if (column.kind === "number") {
    fill(place, h("div", { className: "ramp" }), h("div", { className: "ends" }, h("span", {}, column.low.toFixed(2)), h("span", {}, column.high.toFixed(2))));
    return;
  }
  const counts = tally(column);
  const order = [...counts.keys()].filter((value) => counts[value]).sort((one, other) => counts[other] - counts[one]);
  const most = place.dataset.whole === column.name ? order.length : VALUES;
  const rows = order.slice(0, most).map((value) =>
    h(
      "button",
      { type: "button", onclick: () => select(column, value) },
      h("i", { className: "dot", style: { "--own": css(ofClass(value, dark)) } }),
      h("bdi", { title: column.values[value] }, column.values[value]),
      h("small", {}, counts[value].toLocaleString("en")),
    ),
  );
  const all = () => {
    place.dataset.whole = column.name;
    key(place, column, dark, select);
  };
  fill(place, ...rows, order.length > most ? button(`and ${order.length - most} more`, all) : null);
  if (!rows.length) fill(place, h("small", {}, "no picture has one"));
}
