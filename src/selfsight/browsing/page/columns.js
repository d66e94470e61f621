/** What is known of every picture: label, split, cluster, prediction, scores; one typed array for each. */
import { NONE } from "./colours.js";
import { source } from "./source.js";
import { store } from "./store.js";

const shared = new Set(["label", "split"]); // the same for every run
const read = new Map();

/** {name, title, kind, values, data, low, high}: `data` are places in `values`, or numbers where `kind` is "number". */
export function column(side, name) {
  const key = shared.has(name) ? name : `${side}-${name}`;
  if (!read.has(key)) {
    const made = load(side, name);
    made.catch(() => read.delete(key));
    read.set(key, made);
  }
  return read.get(key);
}

async function load(side, name) {
  const each = store.facts.sides.map((one) => one.columns.find((column) => column.name === name));
  const told = each[side];
  if (!told) return { ...each.find(Boolean), ...blank() };
  const data = await source.numbers(`column-${side}-${name}`, told.kind === "number" ? Float32Array : Int32Array);
  if (told.kind !== "number") {
    let most = -1;
    for (const place of data) if (place > most) most = place;
    const values = [...(told.values ?? [])]; // of clusters there are none, of labels those that were there at first
    while (values.length <= most) values.push(`${told.title} ${values.length + 1}`);
    return { ...told, values, data };
  }
  let [low, high] = [Infinity, -Infinity];
  for (const value of data) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { ...told, data, low, high };
}

/** What says nothing of any picture. */
export const blank = () => ({ kind: "category", values: [], data: new Int32Array(store.count).fill(NONE) });

/** How many pictures have each value. */
export function tally(column) {
  const counts = new Array(column.values.length).fill(0);
  for (const place of column.data) if (place !== NONE) counts[place]++;
  return counts;
}

/** Of each value of a column the commonest label, and its share of those that are labelled; null where none is. */
export function commonest(column, labels) {
  const counts = column.values.map(() => new Map());
  for (let id = 0; id < labels.data.length; id++) {
    const [own, label] = [counts[column.data[id]], labels.data[id]];
    if (label !== NONE) own.set(label, (own.get(label) ?? 0) + 1);
  }
  return counts.map((own) => {
    const [label, most] = [...own].reduce((one, other) => (other[1] > one[1] ? other : one), [NONE, 0]);
    const every = [...own.values()].reduce((sum, one) => sum + one, 0);
    return every ? { label: labels.values[label], share: most / every } : null;
  });
}

/** What a column says of a picture; null for nothing. */
export function valueOf(column, id) {
  const value = column.data[id];
  if (column.kind === "number") return Number.isNaN(value) ? null : value.toFixed(3);
  return value === NONE ? null : column.values[value];
}

/** Give pictures a label; "" takes it away. */
export async function relabel(ids, label) {
  const labels = await column(0, "label");
  let place = label ? labels.values.indexOf(label) : NONE;
  if (label && place < 0) place = labels.values.push(label) - 1;
  for (const id of ids) labels.data[id] = place;
  store.tell("labels");
}
