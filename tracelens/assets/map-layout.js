// Where the services of a map and the lines between them lie. Nothing here draws.

// Pixels. Few services have room for two lines; many stand close, and layers of
// many in several columns (on a phone, rows).
const ROOMY = { wide: 132, high: 44, apart: 26, near: 12, step: [40, 288], text: 14, pixels: 7.4 };
const TIGHT = { wide: 108, high: 24, apart: 8, near: 14, step: [44, 160], text: 12, pixels: 6.5 };
const NARROW = 620; // below this, layers stand under each other
const [MANY, DEEP] = [12, 8]; // services of a layer, and layers, that still are few
const ROWS = 30; // services one above the other
const LEAST = 84; // width of a service on a phone
const SMALLEST = 0.72; // of its size: smaller, a map cannot be read, and scrolls
const LABEL_NEAR = 14; // pixels between a service and the middle of a label
const TIP = 7; // a line ends so far before the service it leads to: its arrow's

/** Place every service: layers along one axis, services of a layer around the middle of the other. */
export function place(layers, width) {
  const down = width < NARROW;
  const most = Math.max(1, ...layers.map((layer) => layer.length));
  const many = most > MANY || layers.length > DEEP;
  const node = { ...(many ? TIGHT : ROOMY) };
  const abreast = Math.min(most, down ? Math.max(1, Math.floor((width - 8) / (LEAST + 10))) : ROWS);
  const lines = layers.map((layer) => Math.ceil(layer.length / abreast)); // columns of a layer, on a phone rows
  const slots = abreast + (Math.max(...lines) > 1 ? 0.5 : 0);
  if (down) node.wide = Math.min(node.wide, (width - 8) / slots - 10);
  const thick = down ? node.high : node.wide;
  const near = thick + node.near;
  const inner = lines.reduce((sum, n) => sum + (n - 1) * near + thick, 8);
  const step = down ? (many ? 40 : 58) : within((width - inner) / Math.max(1, layers.length - 1), ...node.step);
  const apart = down ? (width - 8) / slots : node.high + node.apart;
  const across = down ? width : slots * apart;
  const places = new Map();
  let along = 4 + thick / 2;
  layers.forEach((layer, at) => {
    layer.forEach((name, number) => {
      // Neighbours go to different lines, so that each stands where its callers and callees do.
      const [line, row] = [number % lines[at], Math.floor(number / lines[at])];
      const rows = Math.ceil(layer.length / lines[at]);
      // And what leads to the second line passes between services of the first.
      const shift = lines[at] > 1 ? (line % 2) / 2 - 0.25 : 0;
      const middle = across / 2 + (row - (rows - 1) / 2 + shift) * apart;
      // Between the layer above and this one nothing stands in the way of a label.
      const free = [along - thick / 2 - step + LABEL_NEAR, along - thick / 2 - LABEL_NEAR];
      places.set(name, down ? { x: middle, y: along + line * near, free } : { x: along + line * near, y: middle });
    });
    along += (lines[at] - 1) * near + thick + step;
  });
  const long = inner + Math.max(0, layers.length - 1) * step;
  const [wide, high] = down ? [width, long] : [Math.max(width, long), across];
  return { places, node, down, many, width: wide, height: high + 12, scale: within(width / wide, SMALLEST, 1) };
}

function within(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

/** A line from one service's side to the other's, its middle and where it arrives. */
export function curve(from, to, { node, down }) {
  const half = down ? node.high / 2 : node.wide / 2;
  if (from === to) {
    const [x, y] = [from.x, from.y - node.high / 2];
    return { d: `M${x - 14},${y} C${x - 30},${y - 26} ${x + 30},${y - 26} ${x + 14},${y}`, middle: { x, y: y - 20 }, end: { x: x + 14, y }, way: { x: 0, y: 1 } };
  }
  const back = down ? to.y <= from.y : to.x <= from.x;
  const sign = back ? -1 : 1;
  const [a, b] = down
    ? [{ x: from.x, y: from.y + sign * half }, { x: to.x, y: to.y - sign * (half + TIP) }]
    : [{ x: from.x + sign * half, y: from.y }, { x: to.x - sign * (half + TIP), y: to.y }];
  const reach = sign * Math.max(24, Math.abs(down ? b.y - a.y : b.x - a.x) / 2);
  const [c, d] = down
    ? [{ x: a.x, y: a.y + reach }, { x: b.x, y: b.y - reach }]
    : [{ x: a.x + reach, y: a.y }, { x: b.x - reach, y: b.y }];
  const mix = (at, axis) =>
    (1 - at) ** 3 * a[axis] + 3 * (1 - at) ** 2 * at * c[axis] + 3 * (1 - at) * at ** 2 * d[axis] + at ** 3 * b[axis];
  // Labels of lines that leave one service together stand nearer to where they part.
  let [at, aside] = [0.56, 0];
  if (down && !back) {
    const middle = mix(at, 'y');
    const free = within(middle, ...to.free);
    at = reached(free, (part) => mix(part, 'y'));
    if (free < middle) aside = (to.x - from.x) / 4; // they have hardly parted yet there
  }
  return {
    d: `M${a.x},${a.y} C${c.x},${c.y} ${d.x},${d.y} ${b.x},${b.y}`,
    middle: { x: mix(at, 'x') + aside, y: mix(at, 'y') },
    end: b,
    way: down ? { x: 0, y: sign } : { x: sign, y: 0 },
  };
}

/** How far along a line, of 0 to 1, something that grows on it reaches a value. */
function reached(value, along) {
  let [low, high] = [0, 1];
  for (let turn = 0; turn < 12; turn += 1) {
    const middle = (low + high) / 2;
    if (along(middle) < value) low = middle;
    else high = middle;
  }
  return high;
}

/** The head of a line. */
export function arrow({ end, way }, width) {
  const size = 4 + width / 2;
  const tip = { x: end.x + way.x * TIP, y: end.y + way.y * TIP };
  const base = { x: tip.x - way.x * size * 1.6, y: tip.y - way.y * size * 1.6 };
  return `M${tip.x},${tip.y} L${base.x - way.y * size},${base.y - way.x * size} L${base.x + way.y * size},${base.y + way.x * size} Z`;
}

/** A name cut to the room a service has, its begin and its end: names of many services begin alike. */
export function short(name, { wide, pixels }) {
  const fits = Math.max(4, Math.floor((wide - 26) / pixels));
  if (name.length <= fits) return name;
  const end = Math.floor((fits - 1) / 3);
  return `${name.slice(0, fits - 1 - end)}…${name.slice(name.length - end)}`;
}

/** The services and lines that one service, or both ends of one line, have to do with. */
export function around(edges, names) {
  const lines = edges.filter(({ caller, callee }) => (names.length > 1 ? caller === names[0] && callee === names[1] : caller === names[0] || callee === names[0]));
  return { lines: new Set(lines.map(({ id }) => id)), services: new Set([...names, ...lines.flatMap(({ caller, callee }) => [caller, callee])]) };
}
