/** Pointer and wheel on a map, and the keys that go from picture to picture. */
import { store } from "./store.js";

const CLICK = 5; // pixels that a click may move
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * `tools` says whether the lasso is on, opens a picture, shows what was selected, and is told what keys came to and how
 * many are selected by them.
 */
export function handle(map, tools) {
  const { paper } = map;
  const down = new Map(); // pointers
  let moved = 0;
  let apart = 0;
  const place = (event) => {
    const box = paper.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  paper.addEventListener("pointerdown", (event) => {
    paper.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    [moved, apart] = [0, spread(down)];
    map.lasso = down.size === 1 && (tools.lasso || event.shiftKey) && event.button === 0 ? [place(event)] : null;
    store.turn(map.side);
    store.point(-1);
  });
  paper.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") store.point(map.at(...now), map.side);
      return;
    }
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    down.set(event.pointerId, now);
    if (map.lasso) {
      map.lasso.push(now);
      map.draw();
      return;
    }
    if (down.size === 2) {
      const wide = spread(down);
      map.zoom(wide / (apart || wide), ...middle(down));
      apart = wide;
    }
    map.move((now[0] - before[0]) / down.size, (now[1] - before[1]) / down.size);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    const rope = map.lasso;
    map.lasso = null;
    if (event.type === "pointercancel") return;
    if (moved < CLICK) click(event);
    else if (rope) {
      const ids = map.grid.inside(rope.map(([left, top]) => map.world(left, top)));
      store.select(ids, event.altKey ? "remove" : event.ctrlKey || event.metaKey ? "add" : "replace");
      tools.selected();
    }
    map.draw();
  };
  paper.addEventListener("pointerup", up);
  paper.addEventListener("pointercancel", up);
  paper.addEventListener("pointerleave", () => store.point(-1));
  const click = (event) => {
    const id = map.at(...place(event));
    if (id < 0) return;
    if (event.ctrlKey || event.metaKey) store.select([id], store.selected[id] ? "remove" : "add");
    else tools.open(id);
  };
  paper.addEventListener("dblclick", (event) => map.zoom(2, ...place(event)));
  paper.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      map.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), ...place(event));
    },
    { passive: false },
  );
  paper.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) map.move(-60 * arrow[0], 60 * arrow[1]);
    else if (arrow) step(map, arrow, tools);
    else if (event.key === "Enter" && store.pointed >= 0) tools.open(store.pointed);
    else if (event.key === " " && store.pointed >= 0) {
      store.select([store.pointed], store.selected[store.pointed] ? "remove" : "add");
      tools.counts();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** The keyboard's cursor goes to the next picture in a direction. */
function step(map, [dx, dy], tools) {
  store.turn(map.side);
  const here = store.pointed < 0 ? store.shown : store.pointed;
  const from = Number.isNaN(map.grid.xy[2 * here]) ? -1 : here;
  const [x, y] = from < 0 ? [map.view.x, map.view.y] : [map.grid.xy[2 * from], map.grid.xy[2 * from + 1]];
  const next = from < 0 ? map.grid.nearest(x, y, Infinity) : map.grid.towards(x, y, dx, dy);
  if (next < 0) return;
  store.point(next);
  map.reveal(next);
  tools.came(next, map.side);
}

function middle(down) {
  const places = [...down.values()];
  return [0, 1].map((axis) => places.reduce((sum, one) => sum + one[axis], 0) / places.length);
}

function spread(down) {
  const [one, other] = [...down.values()];
  return other ? Math.hypot(one[0] - other[0], one[1] - other[1]) : 0;
}
