// What the element is made of. Built once; the view shows and hides.

import { KEYS } from './sound.js';
import { icon, type Icon } from './icons.js';

type Given = Record<string, string | boolean | undefined>;

function make<N extends keyof HTMLElementTagNameMap>(
  name: N,
  given: Given = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[N] {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(given)) {
    if (value !== undefined && value !== false) element.setAttribute(attribute, value === true ? '' : value);
  }
  element.append(...children);
  return element;
}

/** A button that has a drawing and, unless it is round, words. */
export interface Button {
  button: HTMLButtonElement;
  svg: SVGSVGElement;
  words: HTMLSpanElement;
}

function button(part: string, css: string, drawing: Icon, toggle = false): Button {
  const svg = icon(drawing);
  const words = make('span');
  const given = { type: 'button', part, class: css, 'aria-pressed': toggle ? 'false' : undefined };
  return { button: make('button', given, svg, words), svg, words };
}

function meter(part: string): HTMLElement {
  return make('div', { part, class: 'meter', 'aria-hidden': 'true' }, make('i'));
}

export function parts() {
  const launcher = button('launcher', 'launcher', 'phone');
  const heading = make('h2', { part: 'heading', class: 'heading', id: 'heading' });
  const connectionWords = make('span');
  const connection = make('p', { part: 'connection', class: 'connection' }, make('i'), connectionWords);
  const language = make('select', { part: 'language', class: 'language' });
  const close = button('close', 'icon', 'close');
  const header = make('header', { part: 'header' }, make('div', { class: 'who' }, heading, connection), language, close.button);

  const orbIcon = icon('mic');
  const orb = make('div', { part: 'orb', class: 'orb', 'aria-hidden': 'true' }, orbIcon);
  const status = make('p', { part: 'status', class: 'status' });
  const detail = make('p', { part: 'detail', class: 'detail' });
  const said = make('div', { role: 'status' }, status, detail);
  const time = make('p', { part: 'timer', class: 'time', role: 'timer' });
  const helpProblem = make('strong');
  const helpRemedy = make('span');
  const help = make('div', { part: 'help', class: 'help', role: 'alert' }, helpProblem, helpRemedy);
  const [you, farEnd] = [make('span'), make('span')];
  const [youMeter, farEndMeter] = [meter('meter meter-microphone'), meter('meter meter-speaker')];
  const meters = make('div', { part: 'meters', class: 'meters' }, you, youMeter, farEnd, farEndMeter);
  const keys = KEYS.map((key) => make('button', { type: 'button', part: 'key', 'data-key': key }, key));
  const keypad = make('div', { part: 'keypad', class: 'keypad', role: 'group', id: 'keypad' }, ...keys);
  const consentWords = make('span');
  const privacy = make('a', { target: '_blank', rel: 'noopener noreferrer' });
  const consent = make('p', { part: 'consent', class: 'consent', id: 'consent' }, consentWords, ' ', privacy);
  const body = make('div', { part: 'body', class: 'body' }, orb, said, time, help, meters, keypad, consent);

  const call = button('call', 'primary', 'phone');
  call.button.setAttribute('aria-describedby', 'consent');
  const reject = button('reject', 'primary stop', 'down');
  const accept = button('accept', 'primary', 'phone');
  const mute = button('mute', 'round', 'mic', true);
  const keypadToggle = button('keypad-toggle', 'round', 'keys');
  keypadToggle.button.setAttribute('aria-controls', 'keypad');
  const speaker = button('speaker', 'round', 'sound', true);
  const hold = button('hold', 'round', 'hold', true);
  const hangup = button('hangup', 'round stop', 'down');
  const done = button('done', 'plain', 'check');
  const callRow = make('div', { class: 'row' }, call.button);
  const incomingRow = make('div', { class: 'row' }, reject.button, accept.button);
  const talkRow = make('div', { class: 'row' }, mute.button, keypadToggle.button, speaker.button, hold.button, hangup.button);
  const footer = make('footer', { part: 'actions' }, callRow, incomingRow, talkRow, done.button);

  const card = make('section', { part: 'card', class: 'card', id: 'card', 'aria-labelledby': 'heading', tabindex: '-1' }, header, body, footer);
  const root = make('div', { part: 'root', class: 'root' }, card, launcher.button);
  return {
    root, card, launcher, heading, connection, connectionWords, language, close, orb, orbIcon, said, status, detail, time,
    help, helpProblem, helpRemedy, you, farEnd, youMeter, farEndMeter, meters, keys, keypad, consent, consentWords, privacy,
    call, reject, accept, mute, keypadToggle, speaker, hold, hangup, done, callRow, incomingRow, talkRow,
  };
}

export type Parts = ReturnType<typeof parts>;

export function option(value: string, text: string, selected: boolean): HTMLOptionElement {
  const made = make('option', { value }, text);
  made.selected = selected;
  return made;
}
