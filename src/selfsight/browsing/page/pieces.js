/** Pieces that the panels are made of. */
import { column, valueOf } from "./columns.js";
import { h } from "./element.js";
import { source } from "./source.js";
import { store } from "./store.js";

/** A thumbnail as a button: click opens the picture; its name is read when it is needed. */
export function tile(id, open, note) {
  const image = h("img", { src: source.thumbnail(id), alt: "", loading: "lazy", decoding: "async", draggable: false });
  const button = h("button", { className: "tile", type: "button", onclick: () => open(id) }, image);
  button.dataset.id = id;
  if (note !== undefined) button.append(h("span", {}, note));
  source.name(id).then(
    (name) => ([button.title, image.alt] = [name, name]),
    () => {}, // without a name it can be opened as well
  );
  for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => store.point(id));
  for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => store.point(-1));
  return button;
}

export const tiles = (ids, open, notes = []) => h("div", { className: "tiles" }, ...ids.map((id, i) => tile(id, open, notes[i])));

export const similarity = (score) => score.toFixed(3);

/** The class that a classifier names, and the next two, as bars. */
export function chances(list) {
  const rows = list.map(({ class: name, confidence }) =>
    h(
      "li",
      {},
      h("bdi", {}, name),
      h("span", { className: "bar", style: { "--share": confidence } }),
      h("b", {}, `${(100 * confidence).toFixed(0)} %`),
    ),
  );
  return h("ol", { className: "chances" }, ...rows);
}

/** What is known of a picture, as rows of a table. */
export async function facts(side, id) {
  const rows = [];
  for (const told of store.facts.sides[side].columns) {
    if (told.late) continue;
    const value = valueOf(await column(side, told.name), id);
    if (value !== null) rows.push(h("div", {}, h("dt", {}, told.title), h("dd", {}, h("bdi", {}, value))));
  }
  return h("dl", { className: "facts" }, ...rows);
}

/** A button; what goes wrong when it is pressed is said. */
export function button(text, act, className = "") {
  const onclick = async () => {
    try {
      await act();
    } catch (error) {
      say(error.message, true);
    }
  };
  return h("button", { type: "button", className, onclick }, text);
}

export const waiting = (text) => h("p", { className: "waiting" }, text);

export const trouble = (text) => h("p", { className: "trouble" }, text);

/** Said to those who hear the page, and not shown. */
export const tell = (text) => (document.getElementById("heard").textContent = text);

let quiet;

/** A sentence at the bottom, read out as well. */
export function say(text, bad = false) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.className = bad ? "bad said" : "said";
  clearTimeout(quiet);
  quiet = setTimeout(() => (toast.className = ""), 5000);
}
