/** One map of all pictures: drag to move, wheel or two fingers to zoom, click to look, lasso to select; keys do the same. */
import { css } from "./colours.js";
import { bounded, h } from "./element.js";
import { Grid } from "./grid.js";
import { pointsOn } from "./points.js";
import { store } from "./store.js";
import { thumbnails } from "./thumbnails.js";

const REACH = 14; // pixels around the pointer
const MOST = 700; // thumbnails drawn at once
const CROWD = 6000; // above as many points in sight, thumbnails wait until one zooms in
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class PictureMap {
  constructor(holder, side, title) {
    this.side = side;
    this.canvas = h("canvas", { className: "points", ariaHidden: "true" });
    this.paper = h("canvas", {
      className: "paper",
      tabIndex: 0,
      role: "application",
      ariaLabel: `Map of pictures${title ? `, ${title}` : ""}. Arrows go from picture to picture, Enter opens one, Space selects it.`,
    });
    this.box = h("div", { className: "map" }, this.canvas, this.paper, title ? h("h2", {}, h("bdi", {}, title)) : null);
    holder.append(this.box);
    this.points = pointsOn(this.canvas);
    this.view = { x: 0, y: 0, scale: 1 };
    this.share = 1;
    this.lasso = null; // corners on the screen while one is drawn
    this.drawn = new Map(); // where each thumbnail is that is seen
    this.grid = new Grid(new Float32Array(0));
    new ResizeObserver(() => this.resize()).observe(this.box);
    for (const event of ["selection", "pointed", "found", "shown"]) store.addEventListener(event, () => this.draw());
    thumbnails.listen(() => this.draw());
  }

  resize() {
    const [width, height, ratio] = [this.box.clientWidth, this.box.clientHeight, Math.min(2, devicePixelRatio)];
    for (const canvas of [this.canvas, this.paper]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const fresh = !this.width;
    Object.assign(this, { width, height, ratio });
    if (fresh || !this.touched) this.fit();
    this.paint(); // at once: a canvas that was given a size is blank
  }

  /** New places for all pictures (2 N numbers); they glide there. */
  place(xy) {
    const glide = this.grid.xy.length === xy.length && !calm.matches;
    this.points.place(glide ? this.grid.xy : xy, xy);
    this.grid = new Grid(xy);
    this.share = glide ? 0 : 1;
    this.fit();
    if (glide) this.glide(performance.now());
  }

  glide(began) {
    const share = bounded(0, (performance.now() - began) / 600, 1);
    this.share = share * share * (3 - 2 * share);
    this.draw();
    if (share < 1) requestAnimationFrame(() => this.glide(began));
  }

  colour(rgba, border) {
    this.border = border;
    this.points.colour(rgba);
    this.draw();
  }

  fit() {
    const { left, right, bottom, top } = this.grid;
    const room = Math.min((this.width - 72) / Math.max(right - left, 1e-9), (this.height - 72) / Math.max(top - bottom, 1e-9));
    this.whole = Math.max(room, 1e-6) || 1;
    this.view = { x: (left + right) / 2, y: (bottom + top) / 2, scale: this.whole };
    this.touched = false;
    this.draw();
  }

  screen(id) {
    const { xy } = this.grid;
    return [
      this.width / 2 + (xy[2 * id] - this.view.x) * this.view.scale,
      this.height / 2 - (xy[2 * id + 1] - this.view.y) * this.view.scale,
    ];
  }

  world(left, top) {
    return [
      this.view.x + (left - this.width / 2) / this.view.scale,
      this.view.y - (top - this.height / 2) / this.view.scale,
    ];
  }

  move(right, down) {
    this.touched = true;
    this.view.x -= right / this.view.scale;
    this.view.y += down / this.view.scale;
    this.draw();
  }

  /** Zoom, and leave what is at a place of the screen where it is. */
  zoom(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.world(left, top);
    this.touched = true;
    this.view.scale = bounded(this.whole / 4, this.view.scale * factor, this.whole * 4000);
    const [newX, newY] = this.world(left, top);
    this.view.x += x - newX;
    this.view.y += y - newY;
    this.draw();
  }

  /** Go to a picture, near enough to see those around it. */
  go(id) {
    const [x, y] = [this.grid.xy[2 * id], this.grid.xy[2 * id + 1]];
    if (Number.isNaN(x)) return;
    this.touched = true;
    this.view = { x, y, scale: Math.max(this.view.scale, this.whole * bounded(2, Math.sqrt(store.count) / 12, 60)) };
    this.draw();
  }

  /** Move the map until a picture is in sight. */
  reveal(id) {
    const [left, top] = this.screen(id);
    this.move(bounded(40, left, this.width - 40) - left, bounded(40, top, this.height - 40) - top);
  }

  /** The picture at a place of the screen: the thumbnail that is seen there, else the nearest point; -1 for none. */
  at(left, top) {
    for (const [id, [x, y]] of this.drawn)
      if (Math.max(Math.abs(left - x), Math.abs(top - y)) <= this.tile / 2) return id;
    const [x, y] = this.world(left, top);
    return this.grid.nearest(x, y, REACH / this.view.scale);
  }

  inSight(most = Infinity, margin = 0) {
    const [left, top] = this.world(-margin, -margin);
    const [right, bottom] = this.world(this.width + margin, this.height + margin);
    return this.grid.within(left, bottom, right, top, most);
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    if (!this.width) return;
    const size = bounded(1.6, 260 / Math.sqrt(store.count), 10) * bounded(0.8, this.view.scale / this.whole, 40) ** 0.4;
    this.points.draw(this.view, Math.min(size, 18), this.share);
    const pen = this.paper.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    if (this.share === 1) this.pictures(pen);
    for (const id of store.found) this.ring(pen, id, "--two", 11);
    if (store.shown >= 0) this.ring(pen, store.shown, "--one", 13);
    if (store.pointed >= 0) this.ring(pen, store.pointed, "--ink", 9);
    if (this.lasso) this.rope(pen);
    if (this.border && !this.painted) performance.mark("painted"); // the first sight of the map, for benchmarks
    this.painted = Boolean(this.border);
  }

  ring(pen, id, colour, radius) {
    const [left, top] = this.screen(id);
    const half = this.drawn.has(id) ? this.tile / 2 + 3 : radius;
    pen.lineWidth = 2.5;
    pen.strokeStyle = getComputedStyle(this.box).getPropertyValue(colour);
    pen.beginPath();
    if (this.drawn.has(id)) pen.roundRect(left - half, top - half, 2 * half, 2 * half, 6);
    else pen.arc(left, top, half, 0, 7);
    pen.stroke();
  }

  rope(pen) {
    const ink = getComputedStyle(this.box).getPropertyValue("--one");
    pen.beginPath();
    for (const [left, top] of this.lasso) pen.lineTo(left, top);
    pen.closePath();
    pen.globalAlpha = 0.14;
    pen.fillStyle = ink;
    pen.fill();
    pen.globalAlpha = 1;
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = ink;
    pen.stroke();
    pen.setLineDash([]);
  }

  /** Thumbnails where there is room for them; which ones are seen does not change while the map is moved. */
  pictures(pen) {
    this.drawn = new Map();
    if (!store.thumbnails || !this.border) return;
    const ids = this.inSight(CROWD + 1, 60);
    if (ids.length > CROWD) return;
    const side = bounded(26, Math.round(0.62 * Math.sqrt((this.width * this.height) / (ids.length + 1))), 84);
    this.tile = side;
    const some = store.chosen > 0;
    ids.sort((one, other) => store.selected[other] - store.selected[one] || rank(one) - rank(other));
    const taken = new Map();
    for (const id of ids) {
      if (this.drawn.size >= MOST) break;
      const [left, top] = this.screen(id);
      const [x, y] = [this.grid.xy[2 * id] * this.view.scale, this.grid.xy[2 * id + 1] * this.view.scale];
      const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
      if (crowded(taken, column, row, x, y, side)) continue;
      taken.set(column * 65536 + row, [x, y]);
      this.drawn.set(id, [left, top]);
    }
    thumbnails.want([...this.drawn.keys()]);
    for (const [id, [left, top]] of this.drawn) {
      const image = thumbnails.get(id);
      if (!image) {
        this.drawn.delete(id);
        continue;
      }
      const scale = (side - 4) / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
      pen.globalAlpha = some && !store.selected[id] ? 0.18 : 1;
      pen.fillStyle = css(this.border(id));
      pen.beginPath();
      pen.roundRect(left - width / 2 - 2, top - height / 2 - 2, width + 4, height + 4, 4);
      pen.fill();
      pen.drawImage(image, left - width / 2, top - height / 2, width, height);
    }
    pen.globalAlpha = 1;
  }
}

/** Which of two pictures is shown where there is room for one: as good as by chance, and always the same. */
const rank = (id) => Math.imul(id + 1, 2654435761) >>> 0;

function crowded(taken, column, row, x, y, side) {
  for (let dx = -1; dx <= 1; dx++)
    for (let dy = -1; dy <= 1; dy++) {
      const other = taken.get((column + dx) * 65536 + row + dy);
      if (other && Math.abs(other[0] - x) < side && Math.abs(other[1] - y) < side) return true;
    }
  return false;
}
