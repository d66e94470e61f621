/** The page: maps in the middle, panels beside them, tools above. */
import { css, NONE, ofClass, paint, shade } from "./colours.js";
import { blank, column, valueOf } from "./columns.js";
import { counted, fill, h } from "./element.js";
import { handle } from "./hands.js";
import { PictureMap } from "./map.js";
import * as panels from "./panels.js";
import { button, say, tell, trouble, waiting } from "./pieces.js";
import { source, UPLOAD } from "./source.js";
import { store } from "./store.js";

const at = (id) => document.getElementById(id);
const night = matchMedia("(prefers-color-scheme: dark)");
const TABS = ["picture", "selection", "clusters", "duplicates", "outliers"];
const maps = [];
const tools = { lasso: false, open, selected: () => tab("selection", false), came, counts: () => tell(`${counted(store.chosen)} selected`) };
const panel = { open, go: (id) => maps.forEach((map) => map.go(id)), select: ofValue };
let laid; // the layout that is on the map
let coloured; // the columns, one for each map, that colour it

async function begin() {
  const facts = await source.json("collection");
  source.version = facts.version;
  store.begin(facts);
  at("title").textContent = facts.title;
  document.title = `${facts.title} · Selfsight`;
  at("count").textContent = counted(facts.count);
  at("ask").hidden = !source.encode || !facts.searchable;
  const several = facts.sides.length > 1;
  facts.sides.forEach((side, number) => maps.push(new PictureMap(at("maps"), number, several ? side.title : "")));
  maps.forEach((map) => handle(map, tools));
  options(at("layout"), facts.layouts, facts.layout);
  const labelled = facts.sides[0].columns.some((one) => one.name === "label" && one.values.length);
  const columns = new Map(facts.sides.flatMap((side) => side.columns.map((one) => [one.name, one])));
  options(at("colour"), [...columns.values()], labelled ? "label" : "cluster");
  at("layout").onchange = () => layout(at("layout").value);
  at("colour").onchange = recolour;
  laid = facts.layout;
  listen();
  if (several) runs(facts.sides);
  at("legend").open = innerWidth > 760;
  if (!facts.count) document.querySelector("#panel-picture .empty").textContent = "There is no picture here.";
  tab("picture", false);
  await layout(facts.layout);
  await recolour();
}

const options = (place, list, chosen) =>
  place.replaceChildren(...list.map(({ name, title }) => h("option", { value: name, selected: name === chosen }, title)));

/** Say that a map or a colour is being computed, unless it comes soon. */
const patience = (what, act) =>
  setTimeout(() => (say(`This ${what} is being computed; it is kept, so that the next time it is there at once.`), act?.()), 700);

/** Ask for places and go there; a map that must be computed may take its time. */
async function layout(name) {
  const slow = patience("map");
  try {
    const places = await Promise.all(maps.map((map) => source.numbers(`points-${map.side}-${name}`, Float32Array)));
    if (at("layout").value !== name) return;
    maps.forEach((map, side) => map.place(places[side]));
    laid = name;
  } catch (error) {
    say(error.message, true);
    if (at("layout").value === name) at("layout").value = laid;
  } finally {
    clearTimeout(slow);
  }
}

/** Colour the maps as is chosen; where the first colour must be computed, they are grey until it is there. */
async function recolour() {
  const name = at("colour").value;
  const slow = patience("colour", () => coloured || maps.forEach((map) => dye(map, blank())));
  try {
    const columns = await Promise.all(maps.map((map) => column(map.side, name)));
    if (at("colour").value !== name) return;
    coloured = columns;
    maps.forEach((map, side) => dye(map, columns[side]));
    panels.key(at("key"), columns[store.side], night.matches, ofValue);
    card();
  } catch (error) {
    say(error.message, true);
  } finally {
    clearTimeout(slow);
  }
}

const dye = (map, own, dark = night.matches) =>
  map.colour(paint(own, store.selected, store.chosen > 0, dark), (id) => shade(own, id, dark));

/** Select the pictures that have a value. */
function ofValue(own, value) {
  const ids = [];
  for (let id = 0; id < own.data.length; id++) if (own.data[id] === value) ids.push(id);
  store.select(ids);
  tab("selection", false);
}

function open(id) {
  store.show(id);
  tab("picture");
}

/** Show a panel; `focus` on a click of its tab only. */
async function tab(name, fresh = true) {
  for (const one of TABS) {
    at(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    at(`tab-${one}`).tabIndex = one === name ? 0 : -1;
    at(`panel-${one}`).hidden = one !== name;
  }
  const place = at(`panel-${name}`);
  const { shown } = store;
  try {
    if (name === "picture") {
      if (fresh && shown >= 0) await panels.picture(place, shown, panel);
    } else if (name === "selection") {
      await panels.selection(place, panel);
    } else if (place.dataset.side !== String(store.side)) {
      await panels.computed(place, name, store.side, { ...panel, dark: night.matches });
    }
  } catch (error) {
    if (name !== "picture" || store.shown === shown) place.replaceChildren(trouble(error.message));
  }
}

const current = () => TABS.find((name) => !at(`panel-${name}`).hidden);

function runs(sides) {
  const buttons = sides.map((side, number) => h("button", { type: "button", onclick: () => store.turn(number) }, h("bdi", {}, side.title)));
  const mark = () => buttons.forEach((one, number) => one.setAttribute("aria-pressed", String(number === store.side)));
  at("runs").replaceChildren(...buttons);
  at("runs").hidden = false;
  store.addEventListener("side", () => {
    mark();
    recolour();
    tab(current());
  });
  mark();
}

function listen() {
  store.addEventListener("selection", () => {
    requestAnimationFrame(recolour); // a task of its own
    at("chosen").textContent = store.chosen ? store.chosen.toLocaleString("en") : "";
    if (current() === "selection") tab("selection");
    const toggle = document.querySelector(".toggle");
    if (toggle) toggle.textContent = panels.chosen(store.shown);
  });
  store.addEventListener("labels", () => {
    at("colour").value = "label";
    delete at("panel-clusters").dataset.side; // it tells the commonest label
    recolour();
  });
  store.addEventListener("pointed", card);
  night.addEventListener("change", () => {
    recolour();
    for (const place of document.querySelectorAll("[data-side]")) delete place.dataset.side;
    tab(current());
  });
  for (const name of TABS) at(`tab-${name}`).onclick = () => tab(name);
  at("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(current()) + step + TABS.length) % TABS.length];
    tab(next);
    at(`tab-${next}`).focus();
  });
  at("lasso").onclick = () => lasso(!tools.lasso);
  at("fit").onclick = () => maps.forEach((map) => map.fit());
  at("closer").onclick = () => maps.forEach((map) => map.zoom(1.6));
  at("farther").onclick = () => maps.forEach((map) => map.zoom(1 / 1.6));
  at("thumbnails").onclick = thumbs;
  at("find").onsubmit = find;
  at("ask").onclick = () => at("file").click();
  at("file").onchange = () => at("file").files[0] && ask(at("file").files[0]);
  document.addEventListener("keydown", keys);
  drops();
}

function keys(event) {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const map = maps.find((one) => one.paper === event.target) ?? maps[store.side];
  const act = {
    l: () => lasso(!tools.lasso),
    p: thumbs,
    s: () => (store.select(map.inSight()), tools.selected()),
    0: () => at("fit").click(),
    "+": () => map.zoom(1.4),
    "=": () => map.zoom(1.4),
    "-": () => map.zoom(1 / 1.4),
    "/": () => at("word").focus(),
    escape: () => (tools.lasso ? lasso(false) : (store.select([]), store.find([]))),
  }[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
}

function lasso(on) {
  tools.lasso = on;
  at("lasso").setAttribute("aria-pressed", String(on));
  at("maps").classList.toggle("roping", on);
}

function thumbs() {
  store.thumbnails = !store.thumbnails;
  at("thumbnails").setAttribute("aria-pressed", String(store.thumbnails));
  maps.forEach((map) => map.draw());
}

/** The little card beside the pointer. */
async function card() {
  const [id, side] = [store.pointed, store.over];
  const place = at("card");
  place.hidden = id < 0;
  if (id < 0) return;
  const map = maps[side];
  const name = await source.name(id).catch((error) => (say(error.message, true), null));
  if (store.pointed !== id || store.over !== side) return;
  if ((place.hidden = name === null)) return;
  at("card-image").src = source.thumbnail(id);
  at("card-name").textContent = name.split("/").at(-1);
  at("card-value").textContent = value(id, side);
  const own = coloured ? shade(coloured[side], id, night.matches) : ofClass(NONE, night.matches);
  at("card-value").parentElement.style.setProperty("--own", css(own));
  const [left, top] = map.screen(id);
  const box = map.box.getBoundingClientRect();
  place.classList.toggle("leftward", left > map.width - 240);
  place.classList.toggle("upward", top > map.height - 150);
  place.style.setProperty("--x", `${box.left + Math.max(0, Math.min(map.width, left))}px`);
  place.style.setProperty("--y", `${box.top + Math.max(0, Math.min(map.height, top))}px`);
}

const value = (id, side) => (coloured ? (valueOf(coloured[side], id) ?? "no value") : "");

/** The keyboard came to a picture: the card is to be seen, this to be heard. */
async function came(id, side) {
  const name = await source.name(id).catch(() => ""); // the card says what went wrong
  if (store.pointed === id && name) tell([name, value(id, side)].filter(Boolean).join(", "));
}

async function find(event) {
  event.preventDefault();
  const word = at("word").value.trim();
  if (!word) return;
  try {
    const names = await source.names(store.count);
    const ids = [...names.keys()].filter((id) => names[id].toLowerCase().includes(word.toLowerCase()));
    if (!ids.length) throw new Error(`No name holds “${word}”.`);
    store.select(ids);
    tab("selection");
  } catch (error) {
    say(error.message, true);
  }
}

/** Send a picture to the server and show what is near it. */
async function ask(file) {
  at("file").value = "";
  if (file.size > UPLOAD) {
    say(`That is too large: at most ${UPLOAD >> 20} MiB are taken.`, true);
    return;
  }
  tab("picture", false);
  const place = at("panel-picture");
  const note = waiting("Looking for pictures like it …");
  place.replaceChildren(note);
  store.show(-1);
  try {
    const answer = await source.encode(store.side, file);
    if (!note.isConnected) return; // another one was opened meanwhile
    panels.asked(place, URL.createObjectURL(file), answer, panel);
    store.find(answer.neighbours.map((one) => one.id));
  } catch (error) {
    if (note.isConnected) place.replaceChildren(trouble(error.message));
  }
}

/** Pictures that are dropped or pasted; where none can be searched for, the browser would show them in place of the page. */
function drops() {
  const ready = !at("ask").hidden;
  const over = (on) => at("drop").classList.toggle("over", on && ready);
  const take = (file) => file && (ready ? ask(file) : say("This page cannot look for new pictures: there is no encoder with it."));
  let depth = 0;
  addEventListener("dragenter", (event) => (event.preventDefault(), over(++depth > 0)));
  addEventListener("dragleave", () => over(--depth > 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over((depth = 0) > 0);
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
}

begin().catch((error) => {
  at("maps").replaceChildren(h("p", { className: "failed" }, error.message), button("Try again", () => location.reload()));
});
