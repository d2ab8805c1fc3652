// Map of services: callers left of callees, on a narrow screen above them. A
// line's width is its rate, its colour how slow it is, dashes are errors.

import { Painter, TableTwin, Tooltip, component, element, meaning, panelHead, svg, theme } from './surface.js';
import { arrow, curve, place, short } from './map-layout.js';

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
    this.head.replaceChildren(panelHead(data.title, data.note, meaning(data.terms, 'hop')));
    const heads = ['caller → callee', ...(data.edges[0]?.cells ?? []).map(([name]) => name)];
    this.twin.update(heads, () => data.edges.map((edge) => [`${edge.caller} → ${edge.callee}`, ...edge.cells.map(([, text]) => text)]), data.terms);
    this.painter.ask();
  }

  draw() {
    const width = this.root.clientWidth;
    const colors = theme(this.root);
    const laid = place(this.data.layers, width);
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
    const label = svg('text', { x: left + 20, y: y - 4, fill: colors.text, 'font-size': 14, 'font-weight': 600 });
    label.textContent = short(name, node);
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

export default component(Map_);
