// Findings, one below the other: what, where and why on the left, what it costs
// on the right. One is in the tab order; arrows or j and k move, Enter opens.

import { component, element, hotkeys, neighbour, ready } from './surface.js';

class Findings {
  constructor(root) {
    this.root = root;
    this.current = 0;
    this.stop = hotkeys((key) => this.key(key));
  }

  update(data, emit) {
    const begin = performance.now();
    const focused = this.root.getRootNode().activeElement?.closest?.('.finding') ?? null;
    this.data = data;
    this.emit = emit;
    this.current = Math.min(this.current, Math.max(0, data.findings.length - 1));
    this.items = data.findings.map((finding, at) => this.item(finding, at));
    this.root.replaceChildren(element('ol', { class: 'findings', 'aria-label': data.label }, this.items));
    if (focused) this.items[this.current]?.focus();
    ready(this.root, this.items.length, performance.now() - begin);
  }

  item(finding, at) {
    const { what, help, evidence, advice, links, id } = finding;
    return element('li', { class: 'finding', tabindex: at === this.current ? '0' : '-1', data: { id }, onfocus: () => this.move(at, false) }, [
      element('div', { class: 'finding-text' }, [
        element('h2', {}, [element('span', { class: 'what', text: what, title: help }), this.where(finding)]),
        element('p', { class: 'evidence', text: evidence }),
        element('p', { class: 'advice', text: advice }),
        element('p', { class: 'links' }, links.map((link) => this.link(link, id))),
      ]),
      this.cost(finding),
    ]);
  }

  where({ color, service, route }) {
    return element('span', { class: 'name', title: `${service} ${route}` }, [
      service && element('i', { class: 'swatch', style: `background:${color}` }),
      element('strong', { text: service }),
      element('span', { text: route }),
    ]);
  }

  cost({ value, unit, about, more, share }) {
    const width = `width:${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
    return element('div', { class: 'finding-cost' }, [
      element('div', { class: value ? 'tile-value' : 'tile-value unknown' }, [
        value && element('strong', { text: value }),
        element('span', { text: unit }),
      ]),
      element('div', { class: 'track' }, [share > 0 && element('i', { class: 'bar', style: width })]),
      element('p', { text: about }),
      more && element('p', { text: more }),
    ]);
  }

  link({ event, text }, id) {
    return element('button', { text, type: 'button', class: 'link', onclick: () => this.emit.trigger('act', { event, id }) });
  }

  move(at, focus = true) {
    if (at < 0 || at >= this.items.length) return;
    this.items[this.current]?.setAttribute('tabindex', '-1');
    this.current = at;
    this.items[at].setAttribute('tabindex', '0');
    if (focus) this.items[at].focus();
  }

  key(key) {
    if (!this.items?.length) return false;
    const inside = this.items.includes(this.root.getRootNode().activeElement);
    const next = neighbour(key, this.current, inside);
    if (next !== null) this.move(next);
    else if (key === 'Enter' && inside) this.open(this.data.findings[this.current]);
    else return false;
    return true;
  }

  open({ links, id }) {
    if (links.length) this.emit.trigger('act', { event: links[0].event, id });
  }

  destroy() {
    this.stop();
  }
}

export default component(Findings);
