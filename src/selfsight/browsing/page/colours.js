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

/** The colour that a column gives a picture. */
export function shade(column, id, dark) {
  if (column.kind !== "number") return ofClass(column.data[id], dark);
  return ofShare((column.data[id] - column.low) / (column.high - column.low || 1), dark);
}

export const css = (rgb) => `rgb(${rgb.join(" ")})`;

/** RGBA of every picture, 4 N bytes; where something is selected, the rest is faint. */
export function paint(column, selected, some, dark) {
  const { data, low, high } = column;
  const numbers = column.kind === "number";
  const shades = numbers
    ? Array.from({ length: 256 }, (_, place) => ofShare(place / 255, dark))
    : column.values.map((_, place) => ofClass(place, dark));
  const packed = (alpha) => Uint32Array.from(shades, ([red, green, blue]) => red | (green << 8) | (blue << 16) | (alpha << 24));
  const [strong, faint] = [packed(225), packed(28)];
  const [red, green, blue] = ofClass(NONE, dark);
  const grey = red | (green << 8) | (blue << 16);
  const span = 255 / (high - low || 1);
  const rgba = new Uint32Array(data.length); // little-endian, as all that runs browsers is
  for (let id = 0; id < data.length; id++) {
    const value = data[id];
    const away = some && !selected[id];
    const place = numbers ? Math.round((value - low) * span) : value;
    rgba[id] = place >= 0 ? (away ? faint : strong)[place] : grey | ((away ? 28 : 120) << 24); // NaN is not >= 0 either
  }
  return new Uint8Array(rgba.buffer);
}
