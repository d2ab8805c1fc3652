// Where the services of a map and the lines between them lie. Nothing here draws.

const NODE = { wide: 132, high: 44 };
const GAP = { along: 96, across: 26 };
const NARROW = 620; // pixels: below this, layers stand under each other
const TIP = 7; // pixels a line ends before the service it leads to: its arrow's

/** Place every service: layers along one axis, services of a layer around the middle of the other. */
export function place(layers, width) {
  const down = width < NARROW;
  const most = Math.max(1, ...layers.map((layer) => layer.length));
  const node = { ...NODE };
  if (down) node.wide = Math.min(NODE.wide, (width - 8) / most - 10);
  const step = down ? node.high + 58 : Math.max(node.wide + 40, Math.min(node.wide + GAP.along * 3, (width - node.wide - 8) / Math.max(1, layers.length - 1)));
  const apart = down ? (width - 8) / most : node.high + GAP.across;
  const across = down ? width : most * apart;
  const places = new Map();
  layers.forEach((layer, at) => {
    layer.forEach((name, number) => {
      const middle = across / 2 + (number - (layer.length - 1) / 2) * apart;
      const along = at * step + (down ? node.high : node.wide) / 2 + 4;
      places.set(name, down ? { x: middle, y: along } : { x: along, y: middle });
    });
  });
  const long = (layers.length - 1) * step + (down ? node.high : node.wide) + 8;
  return { places, node, down, width: down ? width : Math.max(width, long), height: (down ? long : across) + 12 };
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
  // Labels of lines that leave one service together stand nearer to where they part.
  const at = 0.56;
  const mix = (axis) =>
    (1 - at) ** 3 * a[axis] + 3 * (1 - at) ** 2 * at * c[axis] + 3 * (1 - at) * at ** 2 * d[axis] + at ** 3 * b[axis];
  return {
    d: `M${a.x},${a.y} C${c.x},${c.y} ${d.x},${d.y} ${b.x},${b.y}`,
    middle: { x: mix('x'), y: mix('y') },
    end: b,
    way: down ? { x: 0, y: sign } : { x: sign, y: 0 },
  };
}

/** The head of a line. */
export function arrow({ end, way }, width) {
  const size = 4 + width / 2;
  const tip = { x: end.x + way.x * TIP, y: end.y + way.y * TIP };
  const base = { x: tip.x - way.x * size * 1.6, y: tip.y - way.y * size * 1.6 };
  return `M${tip.x},${tip.y} L${base.x - way.y * size},${base.y - way.x * size} L${base.x + way.y * size},${base.y + way.x * size} Z`;
}

/** A name cut to the room a service has. */
export function short(name, { wide }) {
  const fits = Math.max(4, Math.floor((wide - 26) / 7.4));
  return name.length > fits ? `${name.slice(0, fits - 1)}…` : name;
}
