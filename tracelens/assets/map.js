// Map of services: callers left of callees, on a narrow screen above them. A
// line's width is its rate, its colour how slow it is, dashes are errors.

import { Painter, TableTwin, Tooltip, component, element, meaning, panelHead, svg, theme } from './surface.js';
import { arrow, around, curve, place, short } from './map-layout.js';

const LABEL = 13;
const HIT = 16; // pixels around a line that still are the line; half of it where there are many
const LABELLED = 60; // lines: of more, only those that stand out have their label

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
    const colors = theme(this.root);
    const laid = place(this.data.layers, this.root.clientWidth);
    this.tooltip.hide();
    const focused = this.root.getRootNode().activeElement?.dataset?.id;
    this.labelled = this.data.edges.length <= LABELLED;
    const lines = this.data.edges.map((edge) => this.edge(edge, laid, colors));
    this.groups = lines.map(([line]) => line);
    const stands = this.data.edges.findIndex(({ id }) => id === (focused ?? this.data.chosen));
    this.current = Math.max(0, stands);
    this.groups[this.current]?.setAttribute('tabindex', '0');
    const nodes = this.data.layers.flat().map((name) => this.node(name, laid, colors));
    const { width, height, scale } = laid;
    const size = { width: width * scale, height: height * scale, viewBox: `0 0 ${width} ${height}` };
    this.drawing = svg('svg', { class: 'graph', ...size, role: 'group', 'aria-label': this.data.label }, [
      ...this.groups, ...nodes, ...lines.map(([, label]) => label),
    ]);
    this.plot.replaceChildren(this.drawing);
    if (focused && stands >= 0) this.groups[stands].focus();
    return this.data.edges.length;
  }

  node(name, { places, node, many }, colors) {
    const { x, y } = places.get(name);
    const [left, top] = [x - node.wide / 2, y - node.high / 2];
    const [label, under, title] = [
      svg('text', { x: left + 20, y: many ? y + 4 : y - 4, fill: colors.text, 'font-size': node.text, 'font-weight': many ? 500 : 600 }),
      many ? null : svg('text', { x: left + 20, y: y + 13, fill: colors.muted, 'font-size': 12 }),
      svg('title'),
    ];
    label.textContent = short(name, node);
    if (under) under.textContent = this.data.nodes[name] ?? '';
    title.textContent = `${name} ${this.data.nodes[name] ?? ''}`;
    const mark = many ? 14 : 26;
    const light = { onpointerenter: () => this.light([name]), onpointerleave: () => this.light(null) };
    return svg('g', { class: 'service', 'data-name': name, ...light }, [
      svg('rect', { x: left, y: top, width: node.wide, height: node.high, rx: 6, fill: colors.background, stroke: colors.line }),
      svg('rect', { x: left + 8, y: y - mark / 2, width: 4, height: mark, rx: 2, fill: this.data.colors[name] ?? colors.muted }),
      label,
      under,
      title,
    ]);
  }

  /** Let stand out what services have to do with; all again without one. */
  light(names) {
    const found = names && around(this.data.edges, names);
    this.drawing.classList.toggle('dimmed', Boolean(found));
    for (const one of this.drawing.children) {
      const { id, of, name } = one.dataset;
      one.classList.toggle('lit', Boolean(found && (name === undefined ? found.lines.has(id ?? of) : found.services.has(name))));
    }
  }

  /** One line is in the tab order; arrows lead from one to the next. */
  step(by) {
    const next = this.current + by;
    if (next < 0 || next >= this.groups.length) return;
    for (const one of this.groups) one.setAttribute('tabindex', '-1');
    this.groups[next].setAttribute('tabindex', '0');
    this.groups[next].focus();
  }

  key(event, press) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key === 'Enter' || event.key === ' ') press();
    else if (Object.hasOwn(by, event.key)) this.step(by[event.key]);
    else return;
    event.preventDefault();
  }

  edge(edge, laid, colors) {
    const [from, to] = [laid.places.get(edge.caller), laid.places.get(edge.callee)];
    const path = curve(from, to, laid);
    const chosen = edge.id === this.data.chosen;
    const tone = `color-mix(in srgb, ${colors.p99} ${Math.round(100 * edge.slow)}%, ${colors.dark ? '#55617a' : '#b9c2d0'})`;
    const width = (laid.many ? 1 : 1.5) + (laid.many ? 3 : 5.5) * edge.rate;
    const press = () => this.emit.trigger('edge', edge.id);
    const group = svg(
      'g',
      {
        class: 'edge',
        tabindex: '-1',
        role: 'button',
        'data-id': edge.id,
        'aria-label': edge.said,
        'aria-pressed': String(chosen),
        onclick: press,
        onkeydown: (event) => this.key(event, press),
        onfocus: () => {
          this.current = this.groups.indexOf(group);
          this.light(laid.many ? [edge.caller, edge.callee] : null);
        },
        onblur: () => this.light(null),
        onpointerenter: () => this.light(laid.many ? [edge.caller, edge.callee] : null),
        onpointermove: (event) => this.tooltip.show(event, [`${edge.caller} → ${edge.callee}`, ...edge.cells.map(([name, text]) => `${name} ${text}`)]),
        onpointerleave: () => {
          this.light(null);
          this.tooltip.hide();
        },
      },
      [
        chosen && svg('path', { d: path.d, fill: 'none', stroke: colors.accent, 'stroke-width': width + 6, 'stroke-opacity': 0.25 }),
        svg('path', { d: path.d, fill: 'none', stroke: 'transparent', 'stroke-width': Math.max(laid.many ? HIT / 2 : HIT, width) }),
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
      class: this.labelled || chosen ? 'rate' : 'rate quiet',
      'data-of': edge.id,
      x: path.middle.x,
      y: path.middle.y + 4,
      'text-anchor': 'middle',
      'font-size': laid.many ? LABEL - 1 : LABEL,
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
