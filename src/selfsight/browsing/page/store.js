/** What the page is about at this moment: which pictures are selected, which one is looked at, how they are coloured. */
class Store extends EventTarget {
  /** `facts` are those of the payload "collection". */
  begin(facts) {
    this.facts = facts;
    this.count = facts.count;
    this.selected = new Uint8Array(facts.count);
    this.chosen = 0;
    this.shown = -1; // the picture in the panel
    this.pointed = -1; // the picture under the pointer or the keyboard's cursor
    this.over = 0; // the run whose map that is
    this.found = []; // what a search found: rings on the map
    this.side = 0; // the run that panels speak of
    this.thumbnails = true; // on the map, where there is room
  }

  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /** Change the selection: replace it, add to it, or take from it. */
  select(ids, how = "replace") {
    if (how === "replace") this.selected.fill(0);
    for (const id of ids) this.selected[id] = how === "remove" ? 0 : 1;
    this.chosen = this.selected.reduce((sum, one) => sum + one, 0);
    this.tell("selection");
  }

  selection() {
    const ids = [];
    for (let id = 0; id < this.count; id++) if (this.selected[id]) ids.push(id);
    return ids;
  }

  point(id, side = this.side) {
    if (id === this.pointed && side === this.over) return;
    [this.pointed, this.over] = [id, side];
    this.tell("pointed");
  }

  show(id) {
    this.shown = id;
    this.tell("shown");
  }

  find(ids) {
    this.found = ids;
    this.tell("found");
  }

  turn(side) {
    if (side === this.side) return;
    this.side = side;
    this.tell("side");
  }
}

export const store = new Store();
