/** Colours of classes and of numbers, chosen in OKLCH so that all are equally strong on paper or on black. */
const ORDER = [190, 45, 285, 350, 135, 85, 250, 20, 315, 160, 65, 220]; // hues that lie far apart come first

export const NONE = -1; // no value

function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const [l, m, s] = [
    lightness + 0.3963377774 * a + 0.2158037573 * b,
    lightness - 0.1055613458 * a - 0.0638541728 * b,
    lightness - 0.0894841775 * a - 1.291485548 * b,
  ].map((root) => root ** 3); // Ottosson 2020, "A perceptual color space for image processing"
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  const gamma = (x) => (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055);
  return linear.map((x) => Math.round(255 * Math.max(0, Math.min(1, gamma(x)))));
}

/** The colour of value number `place` of a category; grey for none. */
export function ofClass(place, dark) {
  if (place === NONE) return dark ? [126, 134, 140] : [150, 156, 160];
  const round = Math.floor(place / ORDER.length);
  const hue = ORDER[place % ORDER.length] + 15 * round;
  const shift = [0, 0.1, -0.1][round % 3];
  return oklch((dark ? 0.76 : 0.61) + shift, 0.13, hue);
}

/** The colour of a share in [0, 1]: from deep blue over green to yellow. */
export function ofShare(share, dark) {
  if (Number.isNaN(share)) return ofClass(NONE, dark);
  const lightness = dark ? 0.42 + 0.48 * share : 0.32 + 0.5 * share;
  return oklch(lightness, 0.11 + 0.04 * share, 285 - 190 * share);
}

export const css = (rgb) => `rgb(${rgb.join(" ")})`;

/** RGBA of every picture, 4 N bytes; where something is selected, the rest is faint. */
export function paint(column, selected, some, dark) {
  const rgba = new Uint8Array(4 * column.data.length);
  const numbers = column.kind === "number";
  const span = column.high - column.low || 1;
  const steps = 256;
  const table = numbers
    ? Array.from({ length: steps }, (_, place) => ofShare(place / (steps - 1), dark))
    : column.values.map((_, place) => ofClass(place, dark));
  const grey = ofClass(NONE, dark);
  for (let id = 0; id < column.data.length; id++) {
    const value = column.data[id];
    const known = numbers ? !Number.isNaN(value) : value !== NONE;
    const place = numbers ? Math.round(((value - column.low) / span) * (steps - 1)) : value;
    const colour = known ? table[Math.max(0, Math.min(table.length - 1, place))] : grey;
    rgba.set(colour, 4 * id);
    rgba[4 * id + 3] = some && !selected[id] ? 28 : known ? 225 : 120;
  }
  return rgba;
}
