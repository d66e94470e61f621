/** Small pictures for the map: fetched a few at a time, those wanted last first, and kept while there is room. */
import { source } from "./source.js";

const KEPT = 3000;
const AT_ONCE = 8;
const AGAIN = 5000; // milliseconds until one that did not come is asked for again

class Thumbnails {
  constructor() {
    this.kept = new Map();
    this.wanted = [];
    this.busy = 0;
    this.told = new Set();
  }

  /** Call `redraw` whenever pictures have come. */
  listen(redraw) {
    this.told.add(redraw);
  }

  /** The picture, or null while it is on its way. */
  get(id) {
    return this.kept.get(id) ?? null;
  }

  /** What the map would like to show now; what it wanted before is forgotten. */
  want(ids) {
    this.wanted = ids.filter((id) => !this.kept.has(id)).reverse();
    this.next();
  }

  next() {
    while (this.busy < AT_ONCE && this.wanted.length) {
      const id = this.wanted.pop();
      if (this.kept.has(id)) continue;
      this.busy++;
      this.kept.set(id, null); // so that nobody asks again
      const image = new Image();
      image.src = source.thumbnail(id);
      image.decode().then(
        () => this.came(id, image),
        () => this.failed(id),
      );
    }
  }

  came(id, image) {
    this.busy--;
    this.kept.delete(id);
    this.kept.set(id, image);
    for (const [old] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(old);
    }
    for (const redraw of this.told) redraw();
    this.next();
  }

  failed(id) {
    this.came(id, null);
    setTimeout(() => {
      this.kept.delete(id);
      for (const redraw of this.told) redraw();
    }, AGAIN);
  }
}

export const thumbnails = new Thumbnails();
