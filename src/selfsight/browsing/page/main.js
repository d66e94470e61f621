/** The page: maps in the middle, panels beside them, tools above. */
import { ofClass, ofShare, css, NONE, paint } from "./colours.js";
import { column } from "./columns.js";
import { counted, fill, h } from "./element.js";
import { handle } from "./hands.js";
import { PictureMap } from "./map.js";
import * as panels from "./panels.js";
import { button, say, waiting } from "./pieces.js";
import { source } from "./source.js";
import { store } from "./store.js";

const at = (id) => document.getElementById(id);
const night = matchMedia("(prefers-color-scheme: dark)");
const TABS = ["picture", "selection", "clusters", "duplicates", "outliers"];
const maps = [];
const tools = { lasso: false, open, selected: () => tab("selection", false) };
const panel = { open, go: (id) => maps.forEach((map) => map.go(id)), select: ofValue };

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
  options(at("colour"), facts.sides[0].columns, labelled ? "label" : "cluster");
  at("layout").onchange = () => layout(at("layout").value);
  at("colour").onchange = recolour;
  await layout(facts.layout);
  await recolour();
  listen();
  if (several) runs(facts.sides);
  at("legend").open = innerWidth > 760;
  tab("picture", false);
}

const options = (place, list, chosen) =>
  place.replaceChildren(...list.map(({ name, title }) => h("option", { value: name, selected: name === chosen }, title)));

/** Ask for places and go there; a map that must be computed may take its time. */
async function layout(name) {
  const slow = setTimeout(() => say("This map is being computed; it is kept, so that the next time it is there at once."), 700);
  try {
    const places = await Promise.all(maps.map((map) => source.numbers(`points-${map.side}-${name}`, Float32Array)));
    if (at("layout").value === name) maps.forEach((map, side) => map.place(places[side]));
  } catch (error) {
    say(error.message, true);
    at("layout").value = store.facts.layout;
  } finally {
    clearTimeout(slow);
  }
}

async function recolour() {
  const name = at("colour").value;
  try {
    const columns = await Promise.all(maps.map((map) => column(map.side, name)));
    maps.forEach((map, side) => {
      const own = columns[side];
      map.colour(paint(own, store.selected, store.chosen > 0, night.matches), (id) => shade(own, id));
    });
    panels.key(at("key"), columns[store.side], night.matches, ofValue);
  } catch (error) {
    say(error.message, true);
  }
}

function shade(own, id) {
  if (own.kind !== "number") return ofClass(own.data[id], night.matches);
  return ofShare((own.data[id] - own.low) / (own.high - own.low || 1), night.matches);
}

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
  if (name === "picture") {
    if (store.shown < 0) return;
    if (fresh) await panels.picture(place, store.shown, panel);
    return;
  }
  if (name === "selection") {
    await panels.selection(place, panel);
    return;
  }
  if (place.dataset.side === String(store.side)) return;
  place.dataset.side = store.side;
  place.replaceChildren(waiting("Being computed …"));
  try {
    await panels[name](place, store.side, { ...panel, dark: night.matches });
  } catch (error) {
    delete place.dataset.side;
    place.replaceChildren(waiting(error.message));
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
    recolour();
    at("chosen").textContent = store.chosen ? store.chosen.toLocaleString("en") : "";
    if (current() === "selection") tab("selection");
    const toggle = document.querySelector(".toggle");
    if (toggle) toggle.textContent = panels.chosen(store.shown);
  });
  store.addEventListener("labels", () => {
    at("colour").value = "label";
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
  const act = {
    l: () => lasso(!tools.lasso),
    p: thumbs,
    0: () => at("fit").click(),
    "/": () => at("word").focus(),
    Escape: () => (tools.lasso ? lasso(false) : (store.select([]), store.find([]))),
  }[event.key];
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
  const off = store.thumbnails !== "never";
  store.thumbnails = off ? "never" : "always";
  at("thumbnails").setAttribute("aria-pressed", String(!off));
  maps.forEach((map) => map.draw());
}

/** The little card beside the pointer. */
async function card() {
  const id = store.pointed;
  const place = at("card");
  place.hidden = id < 0;
  if (id < 0) return;
  const map = maps[store.side];
  const own = await column(store.side, at("colour").value);
  const name = await source.name(id);
  if (store.pointed !== id) return;
  const value = own.kind === "number" ? own.data[id].toFixed(3) : own.data[id] === NONE ? "no value" : own.values[own.data[id]];
  at("card-image").src = source.thumbnail(id);
  at("card-name").textContent = name.split("/").at(-1);
  at("card-value").textContent = value;
  at("card-value").parentElement.style.setProperty("--own", css(shade(own, id)));
  const [left, top] = map.screen(id);
  const box = map.box.getBoundingClientRect();
  place.classList.toggle("leftward", left > map.width - 240);
  place.classList.toggle("upward", top > map.height - 150);
  place.style.setProperty("--x", `${box.left + Math.max(0, Math.min(map.width, left))}px`);
  place.style.setProperty("--y", `${box.top + Math.max(0, Math.min(map.height, top))}px`);
}

async function find(event) {
  event.preventDefault();
  const word = at("word").value.trim().toLowerCase();
  if (!word) return;
  const names = await source.names(store.count);
  const ids = [...names.keys()].filter((id) => names[id].toLowerCase().includes(word));
  if (!ids.length) say(`No name holds “${at("word").value.trim()}”.`);
  store.select(ids);
  if (ids.length) tab("selection");
}

/** Send a picture to the server and show what is near it. */
async function ask(file) {
  at("file").value = "";
  tab("picture", false);
  const place = at("panel-picture");
  place.replaceChildren(waiting("Looking for pictures like it …"));
  store.show(-1);
  try {
    const answer = await source.encode(store.side, file);
    panels.asked(place, URL.createObjectURL(file), answer, panel);
    store.find(answer.neighbours.map((one) => one.id));
  } catch (error) {
    place.replaceChildren(waiting(error.message));
  }
}

function drops() {
  if (at("ask").hidden) return;
  const over = (on) => at("drop").classList.toggle("over", on);
  let depth = 0;
  addEventListener("dragenter", (event) => (event.preventDefault(), over(++depth > 0)));
  addEventListener("dragleave", () => over(--depth > 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over((depth = 0) > 0);
    if (event.dataTransfer.files[0]) ask(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => event.clipboardData?.files[0] && ask(event.clipboardData.files[0]));
}

begin().catch((error) => {
  at("maps").replaceChildren(h("p", { className: "failed" }, error.message), button("Try again", () => location.reload()));
});
