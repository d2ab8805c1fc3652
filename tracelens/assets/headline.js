// The head of a page: its name, how fresh the data is, and one sentence that
// says what is wrong first. Runs of text come as {text, strong, tone, link}.

import { component, element, hotkeys, ready } from './surface.js';

const FILTER = 'input[aria-label="filter"]';

class Headline {
  constructor(root) {
    this.root = root;
    this.stop = hotkeys((key) => this.key(key));
  }

  update(data, emit) {
    const begin = performance.now();
    this.emit = emit;
    this.root.replaceChildren(
      element('header', { class: 'head' }, [
        element('h1', {}, this.runs(data.title)),
        data.status && this.status(data.status),
      ]),
      ...(data.sub ? [element('p', { class: 'sub' }, this.runs(data.sub))] : []),
      ...(data.callout ? [element('p', { class: `callout ${data.tone ?? ''}`, role: 'status' }, this.runs(data.callout))] : []),
    );
    ready(this.root, (data.callout ?? data.title).length, performance.now() - begin);
  }

  status({ state, runs }) {
    return element('div', { class: 'status', data: { state } }, [
      element('i', { class: 'dot', 'aria-hidden': 'true' }),
      ...this.runs(runs),
    ]);
  }

  runs(runs) {
    return runs.map(({ text, strong, tone, link, title }) => {
      const classes = tone ? `tone-${tone}` : undefined;
      if (link) {
        const follow = () => this.emit.trigger('follow', link);
        return element('button', { text, type: 'button', class: 'link', onclick: follow });
      }
      return element(strong ? 'strong' : 'span', { text, title, class: classes });
    });
  }

  key(key) {
    const filter = document.querySelector(FILTER);
    if (key !== '/' || !filter) return false;
    filter.focus();
    filter.select();
    return true;
  }

  destroy() {
    this.stop();
  }
}

export default component(Headline);
