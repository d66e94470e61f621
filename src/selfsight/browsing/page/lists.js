/** Lists that leave the page as a file. */
import { column, valueOf } from "./columns.js";
import { h } from "./element.js";
import { source } from "./source.js";

/** Text as one cell: quoted where it must be, and a name that a spreadsheet would run as a formula is disarmed. */
function cell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `./${text}` : text;
  return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** path,label of pictures. */
export async function csv(ids) {
  const labels = await column(0, "label");
  const lines = await Promise.all(
    ids.map(async (id) => `${cell(await source.name(id))},${quoted(valueOf(labels, id) ?? "")}`),
  );
  return `path,label\n${lines.join("\n")}\n`;
}

const quoted = (label) => (/[",\n\r]/.test(label) ? `"${label.replaceAll('"', '""')}"` : label);

export function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
