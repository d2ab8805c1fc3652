// The head of a page: its name, how fresh the data is, and one sentence that
// says what is wrong first. Runs of text come as {text, strong, tone, link}.

import { component, element, hotkeys, ready } from './surface.js';

const FILTER = 'input[aria-label="filter"]';
const SEARCH = '.st-key-sought input'; // of the Search page
const KEYS = '.st-key-keys button'; // opens the list of keys

/** Put text on the clipboard; whether that went. Without a secure context only the old way is open. */
async function copied(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const field = element('textarea', { style: 'position:fixed;opacity:0' });
  field.value = text;
  document.body.append(field);
  field.select();
  const went = document.execCommand('copy');
  field.remove();
  return went;
}

class Headline {
  constructor(root) {
    this.root = root;
    this.made = {}; // what each copying button copies
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
      ...(data.sub ? [element('p', { class: 'sub' }, [...this.runs(data.sub), ...this.copies(data.copy)])] : []),
      ...(data.callout ? [element('p', { class: `callout ${data.tone ?? ''}`, role: 'status' }, this.runs(data.callout))] : []),
    );
    ready(this.root, (data.callout ?? data.title).length, performance.now() - begin);
  }

  /** Buttons that copy the page's address, and what it says with the address below. */
  copies(markdown) {
    if (markdown === null || markdown === undefined) return [];
    return [element('span', { class: 'copies' }, [
      this.copy('copy link', () => location.href),
      this.copy('copy as Markdown', () => `${markdown}\n- <${location.href}>\n`),
    ])];
  }

  /** A button that says so when it has copied, until the address or what was copied is another. */
  copy(text, made) {
    const key = `${text} ${location.href}`;
    const press = async () => {
      this.done = { key, text: (await copied(made())) ? 'copied' : 'the browser refused' };
      for (const button of this.root.querySelectorAll('.copies button')) button.replaceWith(this.copy(button.dataset.text, this.made[button.dataset.text]));
    };
    const shown = this.done?.key === key ? this.done.text : text;
    this.made[text] = made;
    return element('button', { text: shown, type: 'button', class: 'small', data: { text }, onclick: press });
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
    if (key === '?') return this.press(document.querySelector(KEYS));
    const field = document.querySelector(SEARCH) ?? document.querySelector(FILTER);
    if (key !== '/' || !field) return false;
    field.focus();
    field.select();
    return true;
  }

  press(button) {
    button?.click();
    return Boolean(button);
  }

  destroy() {
    this.stop();
  }
}

export default component(Headline);
