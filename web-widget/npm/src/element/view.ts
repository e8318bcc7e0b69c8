// Shows what there is to show. Nothing is decided here.

import css from '../core/element.css';
import { microphoneHelp, type Locale } from '../help.js';
import type { LanguageChoice } from './attributes.js';
import { draw, type Icon } from './icons.js';
import { option, parts, type Button, type Parts } from './parts.js';
import { reasonOf, type Labels } from './texts.js';

export type Phase = 'idle' | 'asking' | 'connecting' | 'ringing' | 'incoming' | 'connected' | 'ended' | 'failed';

export type Connection =
  | 'ready' | 'connecting' | 'online' | 'good' | 'weak' | 'interrupted' | 'reconnecting' | 'offline' | 'failed';

/** Where the visitor's call is. */
export interface Shown {
  phase: Phase;
  /** The call is up since then, by `performance.now()`. */
  since?: number;
  lasted?: number;
  caller?: string;
  /** Why it did not work, as the error's code. */
  code?: string | undefined;
  /** The code of what is wrong with the microphone. */
  help?: string | undefined;
  keypad?: boolean;
  held?: boolean;
  heldByFarEnd?: boolean;
}

export interface Drawn extends Shown {
  locale: Locale;
  labels: Labels;
  dark: boolean;
  rightToLeft: boolean;
  variant: 'floating' | 'card' | 'inline';
  position: string;
  open: boolean;
  connection: Connection;
  languages: LanguageChoice[];
  language: string;
  consent: boolean;
  consentUrl: string | null;
  muted: boolean;
  speakerMuted: boolean;
}

const LAMPS: Record<Connection, string> = {
  ready: '', connecting: 'busy', online: 'good', good: 'good', weak: 'weak', interrupted: 'busy', reconnecting: 'busy',
  offline: 'bad', failed: 'bad',
};
const STATES: Record<Connection, keyof Labels> = {
  ready: 'stateReady', connecting: 'stateConnecting', online: 'stateOnline', good: 'stateGood', weak: 'stateWeak',
  interrupted: 'stateInterrupted', reconnecting: 'stateReconnecting', offline: 'stateOffline', failed: 'stateFailed',
};
const ORBS: Partial<Record<Phase, Icon>> = { incoming: 'phone', ringing: 'phone', connecting: 'phone', ended: 'check', failed: 'warning' };

let sheet: CSSStyleSheet | undefined;

export class View {
  readonly parts: Parts = parts();
  readonly #root: ShadowRoot;
  #drawn: Drawn | undefined;
  #languages = '';

  constructor(root: ShadowRoot) {
    this.#root = root;
    // One for all elements of a page, and no style that a Content-Security-Policy has a say in.
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    root.append(this.parts.root);
  }

  draw(drawn: Drawn): void {
    this.#drawn = drawn;
    const p = this.parts;
    const { phase, labels, variant } = drawn;
    const floating = variant === 'floating';
    p.root.dataset['theme'] = drawn.dark ? 'dark' : 'light';
    p.root.dataset['phase'] = phase;
    p.root.lang = drawn.locale;
    p.root.dir = drawn.rightToLeft ? 'rtl' : 'ltr';
    p.root.className = `root ${variant}-variant${floating && drawn.position.endsWith('left') ? ' left' : ''}${floating && drawn.position.startsWith('top') ? ' top' : ''}`;
    p.card.setAttribute('role', floating ? 'dialog' : 'region');
    p.card.hidden = floating && !drawn.open;
    p.close.button.hidden = p.launcher.button.hidden = !floating;
    this.#launcher(drawn);
    text(p.heading, labels.heading);
    p.connection.dataset['state'] = LAMPS[drawn.connection];
    text(p.connectionWords, labels[STATES[drawn.connection]]);
    this.#languageChoice(drawn);
    this.#words(drawn);
    this.#buttons(drawn);
    this.tick(drawn);
  }

  #launcher({ phase, labels, open }: Drawn): void {
    const { button, svg } = this.parts.launcher;
    const live = phase === 'incoming' ? 'incoming' : ['idle', 'ended', 'failed'].includes(phase) ? '' : 'call';
    if (live) button.dataset['live'] = live;
    else delete button.dataset['live'];
    button.setAttribute('aria-expanded', String(open));
    button.setAttribute('aria-controls', 'card');
    draw(svg, !open ? 'phone' : live ? 'minimise' : 'close');
    draw(this.parts.close.svg, live ? 'minimise' : 'close');
    name(this.parts.close.button, live ? labels.minimise : labels.close);
    if (phase !== 'connected') text(this.parts.launcher.words, open ? '' : phase === 'incoming' ? labels.incoming : labels.launcher);
    name(button, !open ? undefined : live ? labels.minimise : labels.close);
  }

  #languageChoice({ languages, language, labels, phase }: Drawn): void {
    const select = this.parts.language;
    select.hidden = languages.length < 2 || !['idle', 'ended', 'failed'].includes(phase);
    select.setAttribute('aria-label', labels.language);
    const key = JSON.stringify(languages);
    if (key !== this.#languages) {
      this.#languages = key;
      select.replaceChildren(...languages.map(({ code, label, flag }) => option(code, flag ? `${flag} ${label}` : label, false)));
    }
    const short = language.split('-')[0] as string;
    select.value = languages.find(({ code }) => code === language)?.code ?? languages.find(({ code }) => code === short)?.code ?? '';
  }

  #words({ phase, labels, locale, caller, code, help, lasted, held, heldByFarEnd, consent, consentUrl, keypad, variant }: Drawn): void {
    const p = this.parts;
    const microphone = microphoneHelp(help, locale);
    const words: Record<Phase, [string, string]> = {
      idle: [labels.greeting, labels.greetingDetail],
      asking: [labels.asking, labels.askingDetail],
      connecting: [labels.connecting, ''],
      ringing: [labels.ringing, ''],
      incoming: [labels.incoming, caller ?? labels.unknownCaller],
      connected: [heldByFarEnd ? labels.onHold : held ? labels.held : labels.connected, ''],
      ended: [labels.ended, lasted === undefined ? '' : labels.endedAfter.replace('{time}', clock(lasted))],
      failed: [labels.failed, microphone ? '' : labels[reasonOf(code)]],
    };
    const [status, detail] = words[phase];
    text(p.status, status);
    text(p.detail, detail);
    p.detail.hidden = !detail || (variant === 'inline' && phase === 'idle');
    draw(p.orbIcon, ORBS[phase] ?? 'mic');
    p.orb.hidden = phase === 'connected' && (Boolean(keypad) || microphone !== undefined);
    text(p.helpProblem, microphone?.problem ?? '');
    text(p.helpRemedy, microphone?.remedy ?? '');
    p.help.hidden = !microphone;
    p.meters.hidden = phase !== 'connected' || Boolean(keypad);
    text(p.you, labels.you);
    text(p.farEnd, labels.farEnd);
    p.keypad.hidden = phase !== 'connected' || !keypad;
    p.keypad.setAttribute('aria-label', labels.keypad);
    p.consent.hidden = !consent || (phase !== 'idle' && phase !== 'ended');
    text(p.consentWords, labels.consent);
    text(p.privacy, labels.privacy);
    // Nothing but a page may stand there.
    const url = consentUrl !== null && /^(https?:|[^:]*$)/i.test(consentUrl.trim()) ? consentUrl : null;
    p.privacy.hidden = url === null;
    if (url !== null) p.privacy.href = url;
  }

  #buttons({ phase, labels, muted, speakerMuted, keypad, held }: Drawn): void {
    const p = this.parts;
    const rest = ['idle', 'ended', 'failed'].includes(phase);
    p.callRow.hidden = !rest;
    p.incomingRow.hidden = phase !== 'incoming';
    p.talkRow.hidden = rest || phase === 'incoming';
    for (const { button } of [p.mute, p.keypadToggle, p.speaker, p.hold]) button.hidden = phase !== 'connected';
    text(p.call.words, phase === 'idle' ? labels.call : phase === 'ended' ? labels.callAgain : labels.tryAgain);
    p.done.button.hidden = phase !== 'ended' && phase !== 'failed';
    text(p.done.words, labels.done);
    text(p.accept.words, labels.accept);
    text(p.reject.words, labels.reject);
    round(p.mute, labels.mute, muted ? 'micOff' : 'mic', muted);
    round(p.speaker, labels.speaker, speakerMuted ? 'soundOff' : 'sound', speakerMuted);
    round(p.hold, labels.hold, 'hold', Boolean(held));
    round(p.hangup, labels.hangup, 'down');
    round(p.keypadToggle, labels.keypad, 'keys');
    p.keypadToggle.button.setAttribute('aria-expanded', String(Boolean(keypad)));
  }

  /** A second has gone by. */
  tick({ phase, since }: Shown): void {
    const drawn = this.#drawn;
    if (!drawn) return;
    const { time, launcher } = this.parts;
    time.hidden = phase !== 'connected' || since === undefined;
    if (since === undefined || phase !== 'connected') return;
    const passed = clock(performance.now() - since);
    text(time, passed);
    text(launcher.words, drawn.open ? '' : passed);
    name(launcher.button, drawn.open ? drawn.labels.minimise : drawn.labels.inCall.replace('{time}', passed));
  }

  /** How loud both ends are, 0 to 1. */
  levels(you: number, farEnd: number): void {
    const { youMeter, farEndMeter, orb } = this.parts;
    youMeter.style.setProperty('--level', you.toFixed(2));
    farEndMeter.style.setProperty('--level', farEnd.toFixed(2));
    orb.style.setProperty('--level', farEnd.toFixed(2));
  }

  /** A key was pressed: it may have been on the keyboard. */
  pressed(key: string): void {
    const button = this.parts.keys.find((one) => one.dataset['key'] === key);
    if (button && this.#root.activeElement !== button) button.focus();
  }

  /** What had the focus may be gone: it goes to what takes its place, so that the keyboard is not lost. */
  keepFocus(): void {
    const active = this.#root.activeElement as HTMLElement | null;
    const hadIt = active !== null || this.#hadFocus;
    this.#hadFocus = false;
    if (!hadIt || !this.#drawn) return;
    if (active && active.offsetParent !== null && !active.closest('[hidden]')) return;
    const p = this.parts;
    if (p.card.hidden) return p.launcher.button.focus();
    const { phase } = this.#drawn;
    const next = { incoming: p.accept, connected: p.mute, idle: p.call, ended: p.call, failed: p.call, asking: p.hangup, connecting: p.hangup, ringing: p.hangup };
    next[phase].button.focus();
  }

  #hadFocus = false;

  /** Before what has the focus is hidden: browsers forget where it was. */
  noteFocus(): void {
    this.#hadFocus = this.#root.activeElement !== null;
  }
}

function text(element: HTMLElement, words: string): void {
  if (element.textContent !== words) element.textContent = words;
}

function name(element: HTMLElement, words: string | undefined): void {
  if (words) {
    element.setAttribute('aria-label', words);
    element.title = words;
  } else {
    element.removeAttribute('aria-label');
    element.removeAttribute('title');
  }
}

function round({ button, svg }: Button, words: string, drawing: Icon, pressed?: boolean): void {
  name(button, words);
  draw(svg, drawing);
  if (pressed !== undefined) button.setAttribute('aria-pressed', String(pressed));
}

/** Minutes and seconds; hours where there are any. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (number: number): string => String(number).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}
