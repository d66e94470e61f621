/** Which points lie where: a grid over the map, for the pointer, the thumbnails and the lasso. */
export class Grid {
  /** `xy` are 2 N numbers; points without a place are NaN and are nowhere. */
  constructor(xy) {
    const count = xy.length / 2;
    let [left, bottom, right, top] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let id = 0; id < count; id++) {
      const [x, y] = [xy[2 * id], xy[2 * id + 1]];
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < bottom) bottom = y;
      if (y > top) top = y;
    }
    if (left > right) [left, bottom, right, top] = [-1, -1, 1, 1];
    const side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(count / 4))));
    const cell = Math.max(right - left, top - bottom, 1e-9) / side;
    Object.assign(this, { xy, left, bottom, right, top, side, cell });
    const cells = new Int32Array(count).fill(-1);
    this.starts = new Uint32Array(side * side + 1);
    for (let id = 0; id < count; id++) {
      if (Number.isNaN(xy[2 * id])) continue;
      cells[id] = this.row(xy[2 * id + 1]) * side + this.column(xy[2 * id]);
      this.starts[cells[id] + 1]++;
    }
    for (let place = 0; place < side * side; place++) this.starts[place + 1] += this.starts[place];
    const next = this.starts.slice();
    this.ids = new Uint32Array(this.starts[side * side]);
    for (let id = 0; id < count; id++) if (cells[id] >= 0) this.ids[next[cells[id]]++] = id;
  }

  column(x) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((x - this.left) / this.cell)));
  }

  row(y) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((y - this.bottom) / this.cell)));
  }

  /** Ids whose cells touch a rectangle, up to `most` of them. */
  within(left, bottom, right, top, most = Infinity) {
    const found = [];
    if (right < this.left || left > this.right || top < this.bottom || bottom > this.top) return found;
    for (let row = this.row(bottom); row <= this.row(top); row++) {
      const from = this.starts[row * this.side + this.column(left)];
      const to = this.starts[row * this.side + this.column(right) + 1];
      for (let place = from; place < to; place++) {
        const id = this.ids[place];
        const [x, y] = [this.xy[2 * id], this.xy[2 * id + 1]];
        if (x < left || x > right || y < bottom || y > top) continue;
        if (found.length >= most) return found;
        found.push(id);
      }
    }
    return found;
  }

  /** The id nearest to a place, at most `reach` away; -1 for none. */
  nearest(x, y, reach) {
    let [best, least] = [-1, reach * reach];
    for (const id of this.within(x - reach, y - reach, x + reach, y + reach)) {
      const apart = (this.xy[2 * id] - x) ** 2 + (this.xy[2 * id + 1] - y) ** 2;
      if (apart <= least) [best, least] = [id, apart];
    }
    return best;
  }

  /** The nearest id in a direction, seen from a place: what an arrow key goes to. */
  towards(x, y, dx, dy) {
    let [best, least] = [-1, Infinity];
    for (const id of this.ids) {
      const [right, up] = [this.xy[2 * id] - x, this.xy[2 * id + 1] - y];
      const along = right * dx + up * dy;
      const aside = Math.abs(right * dy - up * dx);
      if (along > 0 && aside <= along && along + 2 * aside < least) [best, least] = [id, along + 2 * aside];
    }
    return best;
  }

  /** Ids inside a polygon of [x, y] corners, by the even-odd rule. */
  inside(polygon) {
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const near = this.within(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    return near.filter((id) => {
      const [x, y] = [this.xy[2 * id], this.xy[2 * id + 1]];
      let within = false;
      for (let one = 0, other = xs.length - 1; one < xs.length; other = one++)
        if (ys[one] > y !== ys[other] > y && x < ((xs[other] - xs[one]) * (y - ys[one])) / (ys[other] - ys[one]) + xs[one])
          within = !within;
      return within;
    });
  }
}
