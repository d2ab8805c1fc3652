// A few large numbers, each with how many calls it stands for, its course and
// its change.

import { component, element, ready } from './surface.js';
import { sparkline } from './sparkline.js';

class Tiles {
  constructor(root) {
    this.root = root;
  }

  update(data) {
    const begin = performance.now();
    const tiles = data.tiles.map((tile) => this.tile(tile));
    this.root.replaceChildren(element('div', { class: 'tiles', role: 'list' }, tiles));
    ready(this.root, tiles.length, performance.now() - begin);
  }

  tile({ label, help, n, value, unit, change, tone, against, series }) {
    return element('div', { class: 'tile', role: 'listitem', data: { label } }, [
      element('div', { class: 'tile-label' }, [
        element('span', { text: label, title: help, class: `mark mark-${label}` }),
        element('span', { text: n, class: 'n' }),
      ]),
      element('div', { class: 'tile-value' }, [
        element('strong', { text: value }),
        element('span', { text: unit }),
      ]),
      element('div', { class: 'tile-change' }, [
        change && element('span', { text: change, class: `tone-${tone}` }),
        element('span', { text: against }),
      ]),
      sparkline(series, label, { width: 160, height: 44 }),
    ]);
  }

  destroy() {}
}

export default component(Tiles);
