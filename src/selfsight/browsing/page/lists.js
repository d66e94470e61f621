/** Lists that leave the page as a file. */
import { column, valueOf } from "./columns.js";
import { h } from "./element.js";
import { source } from "./source.js";
import { store } from "./store.js";

/** Text as one cell: quoted where it must be, and a name that a spreadsheet would run as a formula is disarmed. */
function cell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `./${text}` : text;
  return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** A table of pictures: path (as DATA names them), label and, where one is known, split: the test part stays that. */
export async function csv(ids) {
  const labels = await column(0, "label");
  const parts = store.facts.sides[0].columns.some((one) => one.name === "split") ? await column(0, "split") : null;
  const line = async (id) => {
    const cells = [cell(await source.name(id)), quoted(valueOf(labels, id) ?? "")];
    return [...cells, ...(parts ? [valueOf(parts, id) ?? "train"] : [])].join(",");
  };
  return [`path,label${parts ? ",split" : ""}`, ...(await Promise.all(ids.map(line))), ""].join("\n");
}

const quoted = (label) => (/[",\n\r]/.test(label) ? `"${label.replaceAll('"', '""')}"` : label);

export function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
