// Map of services: callers left of callees, on a narrow screen above them. A
// line's width is its rate, its colour how slow it is, dashes are errors.

import { Painter, TableTwin, Tooltip, component, element, panelHead, svg, theme } from './surface.js';

const NODE = { wide: 132, high: 44 };
const GAP = { along: 96, across: 26 };
const NARROW = 620; // pixels: below this, layers stand under each other
const LABEL = 13;
const HIT = 16; // pixels around a line that still are the line

class Map_ {
  constructor(root) {
    this.root = root;
    this.head = element('div');
    this.plot = element('div', { class: 'plot map' });
    root.append(this.head, this.plot);
    this.tooltip = new Tooltip(root);
    this.twin = new TableTwin(root);
    this.painter = new Painter(root, () => this.draw());
  }

  update(data, emit) {
    this.data = data;
    this.emit = emit;
    this.head.replaceChildren(panelHead(data.title, data.note));
    const heads = ['caller → callee', ...(data.edges[0]?.cells ?? []).map(([name]) => name)];
    this.twin.update(heads, () => data.edges.map((edge) => [`${edge.caller} → ${edge.callee}`, ...edge.cells.map(([, text]) => text)]));
    this.painter.ask();
  }

  /** Place every service: layers along one axis, services of a layer around the middle of the other. */
  place(width) {
    const { layers } = this.data;
    const down = width < NARROW;
    const most = Math.max(1, ...layers.map((layer) => layer.length));
    const node = { ...NODE };
    if (down) node.wide = Math.min(NODE.wide, (width - 8) / most - 10);
    const step = down ? node.high + 58 : Math.max(node.wide + 40, Math.min(node.wide + GAP.along * 3, (width - node.wide - 8) / Math.max(1, layers.length - 1)));
    const apart = down ? (width - 8) / most : node.high + GAP.across;
    const across = down ? width : most * apart;
    const places = new Map();
    layers.forEach((layer, at) => {
      layer.forEach((name, place) => {
        const middle = across / 2 + (place - (layer.length - 1) / 2) * apart;
        const along = at * step + (down ? node.high : node.wide) / 2 + 4;
        places.set(name, down ? { x: middle, y: along } : { x: along, y: middle });
      });
    });
    const long = (layers.length - 1) * step + (down ? node.high : node.wide) + 8;
    return { places, node, down, width: down ? width : Math.max(width, long), height: (down ? long : across) + 12 };
  }

  draw() {
    const width = this.root.clientWidth;
    const colors = theme(this.root);
    const laid = this.place(width);
    this.tooltip.hide();
    const focused = this.root.getRootNode().activeElement?.dataset?.id;
    const lines = this.data.edges.map((edge) => this.edge(edge, laid, colors));
    const nodes = this.data.layers.flat().map((name) => this.node(name, laid, colors));
    const drawing = svg(
      'svg',
      { class: 'graph', width: laid.width, height: laid.height, viewBox: `0 0 ${laid.width} ${laid.height}`, role: 'group', 'aria-label': this.data.label },
      [...lines.map(([line]) => line), ...nodes, ...lines.map(([, label]) => label)],
    );
    this.plot.replaceChildren(drawing);
    if (focused) this.plot.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
    return this.data.edges.length;
  }

  node(name, { places, node }, colors) {
    const { x, y } = places.get(name);
    const [left, top] = [x - node.wide / 2, y - node.high / 2];
    const fits = Math.max(4, Math.floor((node.wide - 26) / 7.4));
    const short = name.length > fits ? `${name.slice(0, fits - 1)}…` : name;
    const label = svg('text', { x: left + 20, y: y - 4, fill: colors.text, 'font-size': 14, 'font-weight': 600 });
    label.textContent = short;
    const under = svg('text', { x: left + 20, y: y + 13, fill: colors.muted, 'font-size': 12 });
    under.textContent = this.data.nodes[name] ?? '';
    const title = svg('title');
    title.textContent = `${name} ${this.data.nodes[name] ?? ''}`;
    return svg('g', {}, [
      svg('rect', { x: left, y: top, width: node.wide, height: node.high, rx: 6, fill: colors.background, stroke: colors.line }),
      svg('rect', { x: left + 8, y: y - 13, width: 4, height: 26, rx: 2, fill: this.data.colors[name] ?? colors.muted }),
      label,
      under,
      title,
    ]);
  }

  edge(edge, laid, colors) {
    const [from, to] = [laid.places.get(edge.caller), laid.places.get(edge.callee)];
    const path = curve(from, to, laid);
    const chosen = edge.id === this.data.chosen;
    const tone = `color-mix(in srgb, ${colors.p99} ${Math.round(100 * edge.slow)}%, ${colors.dark ? '#55617a' : '#b9c2d0'})`;
    const width = 1.5 + 5.5 * edge.rate;
    const press = () => this.emit.trigger('edge', edge.id);
    const group = svg(
      'g',
      {
        class: 'edge',
        tabindex: '0',
        role: 'button',
        'data-id': edge.id,
        'aria-label': edge.said,
        'aria-pressed': String(chosen),
        onclick: press,
        onkeydown: (event) => {
          if (event.key === 'Enter' || event.key === ' ') {
            event.preventDefault();
            press();
          }
        },
        onpointermove: (event) => this.tooltip.show(event, [`${edge.caller} → ${edge.callee}`, ...edge.cells.map(([name, text]) => `${name} ${text}`)]),
        onpointerleave: () => this.tooltip.hide(),
      },
      [
        chosen && svg('path', { d: path.d, fill: 'none', stroke: colors.accent, 'stroke-width': width + 6, 'stroke-opacity': 0.25 }),
        svg('path', { d: path.d, fill: 'none', stroke: 'transparent', 'stroke-width': Math.max(HIT, width) }),
        svg('path', {
          d: path.d,
          fill: 'none',
          style: `stroke:${tone}`,
          'stroke-width': width,
          'stroke-dasharray': edge.failing ? `${4 + width} ${3 + width / 2}` : null,
        }),
        svg('path', { d: arrow(path, width), style: `fill:${tone}` }),
      ],
    );
    const text = svg('text', {
      x: path.middle.x,
      y: path.middle.y + 4,
      'text-anchor': 'middle',
      'font-size': LABEL,
      'font-weight': chosen ? 600 : 400,
      fill: edge.failing ? colors.error : colors.text,
      stroke: colors.background,
      'stroke-width': 4,
      'paint-order': 'stroke',
      'pointer-events': 'none',
    });
    text.textContent = edge.label;
    return [group, text];
  }

  destroy() {
    this.painter.destroy();
  }
}

/** A line from one service's side to the other's, its middle and where it arrives. */
function curve(from, to, { node, down }) {
  const half = down ? node.high / 2 : node.wide / 2;
  if (from === to) {
    const [x, y] = [from.x, from.y - node.high / 2];
    return { d: `M${x - 14},${y} C${x - 30},${y - 26} ${x + 30},${y - 26} ${x + 14},${y}`, middle: { x, y: y - 20 }, end: { x: x + 14, y }, way: { x: 0, y: 1 } };
  }
  const back = down ? to.y <= from.y : to.x <= from.x;
  const sign = back ? -1 : 1;
  const [a, b] = down
    ? [{ x: from.x, y: from.y + sign * half }, { x: to.x, y: to.y - sign * (half + 7) }]
    : [{ x: from.x + sign * half, y: from.y }, { x: to.x - sign * (half + 7), y: to.y }];
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

function arrow({ end, way }, width) {
  const size = 4 + width / 2;
  const tip = { x: end.x + way.x * 7, y: end.y + way.y * 7 };
  const base = { x: tip.x - way.x * size * 1.6, y: tip.y - way.y * size * 1.6 };
  return `M${tip.x},${tip.y} L${base.x - way.y * size},${base.y - way.x * size} L${base.x + way.y * size},${base.y + way.x * size} Z`;
}

export default component(Map_);
