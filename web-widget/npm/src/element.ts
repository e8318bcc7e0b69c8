// `<codex-voice-widget>`: a voice button for a page. Thin over the package; importing it defines the element.

import { createClient } from '@codex/web-widget';
import type { CodexSipClient } from './client.js';
import type { CodexError } from './error.js';
import type {
  CallStateEvent,
  ClientEvents,
  CustomerData,
  EnvConfig,
  IncomingCallEvent,
  MetricsEvent,
  RegistrationEvent,
  TokenEnvConfig,
} from './types.js';
import { FLAGS, REFLECTED, SETTINGS, VIEW, configOf, languagesIn, parsed, reflect } from './element/attributes.js';
import type { LanguageChoice, VoiceWidgetSettings } from './element/attributes.js';
import { KEYS, Sound } from './element/sound.js';
import { LANGUAGE_NAMES, TEXTS, type Labels } from './element/texts.js';
import { View, type Connection, type Shown } from './element/view.js';
import type { Locale } from './help.js';

export type { LanguageChoice, VoiceWidgetSettings } from './element/attributes.js';
export type { Labels } from './element/texts.js';

/** How long a pointer rests on the button before that counts as a sign of intent, in milliseconds. */
const INTENT_MS = 120;
/** How often meters move, in milliseconds; with reduced motion less often. */
const METER_MS = 66;
const CALM_METER_MS = 500;
/** How often an incoming call rings, in milliseconds. */
const RING_MS = 2500;

/** What the element tells, by the event's name; all bubble, and leave the shadow tree. */
export interface VoiceWidgetEvents {
  'codex-call': CustomEvent<CallStateEvent>;
  'codex-registration': CustomEvent<RegistrationEvent>;
  'codex-incoming': CustomEvent<IncomingCallEvent>;
  'codex-metrics': CustomEvent<MetricsEvent>;
  'codex-error': CustomEvent<CodexError>;
}

declare global {
  interface HTMLElementTagNameMap {
    'codex-voice-widget': CodexVoiceWidget;
  }
  interface HTMLElementEventMap extends VoiceWidgetEvents {}
  interface DocumentEventMap extends VoiceWidgetEvents {}
}

// There are no elements where pages are rendered on a server; the class is only named there.
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

export interface CodexVoiceWidget extends VoiceWidgetSettings {}

export class CodexVoiceWidget extends Base {
  static readonly observedAttributes = [...Object.keys(SETTINGS), ...VIEW, ...FLAGS, 'dir'];

  readonly #sound = new Sound();
  #view: View | undefined;
  #client: CodexSipClient | undefined;
  /** Whether the page has given the client, and so sees to its registration and its end. */
  #given = false;
  #unlisten: (() => void) | undefined;
  #config: EnvConfig | TokenEnvConfig | undefined;
  #password: string | undefined;
  #turnPassword: string | undefined;
  #customerData: CustomerData | undefined;
  #labels: Partial<Labels> | undefined;
  #languages: LanguageChoice[] | undefined;
  #language: string | undefined;
  #shown: Shown = { phase: 'idle' };
  #connection: Connection = 'ready';
  #registered = false;
  readonly #bad = new Set<string>();
  #muted = false;
  #speakerMuted = false;
  #told: unknown;
  #intent: ReturnType<typeof setTimeout> | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #metering: ReturnType<typeof setInterval> | undefined;
  #ringing: ReturnType<typeof setInterval> | undefined;
  #window: AbortController | undefined;
  #rendering = false;

  // ---- what a page sets ---------------------------------------------------------------------------------------------

  /** The client in use: the page's, or the element's own once it is needed. */
  get client(): CodexSipClient | undefined {
    return this.#client;
  }

  set client(client: CodexSipClient | undefined | null) {
    if (client === this.#client && this.#given) return;
    this.#leave();
    if (client) this.#listen(client, true);
    this.#render();
  }

  /** Keys of `createClient`, for what has no attribute; attributes come before it. */
  get config(): EnvConfig | TokenEnvConfig | undefined {
    return this.#config;
  }

  set config(config: EnvConfig | TokenEnvConfig | undefined) {
    this.#config = config;
    this.#changed();
  }

  /** The SIP user's password. Whoever opens the page can read it: `token-url` needs none. */
  set password(password: string | undefined) {
    this.#password = password;
    this.#changed();
  }

  /** The TURN servers' password. */
  set turnPassword(password: string | undefined) {
    this.#turnPassword = password;
    this.#changed();
  }

  /** Who is calling and why; for calls to come. */
  get customerData(): CustomerData | undefined {
    return this.#customerData ?? (parsed('customer-data', this.getAttribute('customer-data')) as CustomerData | undefined);
  }

  set customerData(data: CustomerData | string | undefined | null) {
    this.#customerData = typeof data === 'string' ? (parsed('customerData', data) as CustomerData) : (data ?? undefined);
  }

  /** Texts in place of the element's own, by name. */
  get labels(): Partial<Labels> {
    return { ...(parsed('labels', this.getAttribute('labels')) as Partial<Labels> | undefined), ...this.#labels };
  }

  set labels(labels: Partial<Labels> | undefined | null) {
    this.#labels = labels ?? undefined;
    this.#render();
  }

  /** Languages to choose from; none are shown if there is only one. */
  get languages(): LanguageChoice[] {
    return this.#languages ?? languagesIn(this.getAttribute('languages'), LANGUAGE_NAMES);
  }

  set languages(languages: LanguageChoice[] | undefined | null) {
    this.#languages = languages ?? undefined;
    this.#render();
  }

  /** The language of calls, and of the texts where `locale` is not set. */
  get language(): string {
    return this.#language ?? this.getAttribute('language') ?? this.#client?.language ?? this.#pageLocale();
  }

  set language(language: string) {
    this.#language = language;
    void this.#client?.setLanguage(language).catch((error: unknown) => this.#tell(error));
    this.#render();
  }

  // ---- what a page does ---------------------------------------------------------------------------------------------

  /** Opens the card. */
  show(): void {
    this.open = true;
  }

  /** Closes the card; a call goes on. */
  hide(): void {
    this.open = false;
  }

  /** Calls, as if the visitor had pressed the button. */
  async call(): Promise<void> {
    if (!['idle', 'ended', 'failed'].includes(this.#shown.phase)) return;
    this.#sound.wake();
    this.#show({ phase: 'asking' });
    // The visitor is asked by the browser, unless that was answered before.
    const customerData = this.#customerData;
    try {
      const client = this.#own();
      await client.startCall({ language: this.language, ...(customerData && { customerData }) });
    } catch (error) {
      this.#failed(error);
    }
  }

  async hangup(): Promise<void> {
    // Nothing of it is under way where the core is not there yet.
    if (this.#client?.state === 'idle') return this.#leaveCall();
    await this.#client?.hangup().catch((error: unknown) => this.#tell(error));
  }

  async hold(): Promise<void> {
    await this.#client?.hold().catch((error: unknown) => this.#tell(error));
  }

  async unhold(): Promise<void> {
    await this.#client?.unhold().catch((error: unknown) => this.#tell(error));
  }

  /** Sends the far end to somebody else, a SIP URI; the call then ends. Rejects if that does not come about. */
  async transfer(targetUri: string): Promise<void> {
    await this.#client?.transfer(targetUri);
  }

  // ---- the life of the element --------------------------------------------------------------------------------------

  connectedCallback(): void {
    if (!this.#view) {
      this.#build();
      this.#adopt();
    }
    const window = (this.#window = new AbortController());
    const { signal } = window;
    for (const event of ['online', 'offline']) addEventListener(event, () => this.#render(), { signal });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#render(), { signal });
    this.#render();
    if (this.hasAttribute('auto-register') || this.hasAttribute('incoming')) void this.#register();
  }

  disconnectedCallback(): void {
    this.#window?.abort();
    clearTimeout(this.#intent);
    // One that is moved comes back in the same turn, and its call goes on.
    queueMicrotask(() => {
      if (this.isConnected) return;
      if (!this.#given) this.#leave();
      this.#stopClocks();
    });
  }

  attributeChangedCallback(name: string, before: string | null, value: string | null): void {
    if (before === value) return;
    if (name === 'customer-data') this.#customerData = undefined;
    if (name === 'language') {
      this.#language = undefined;
      if (value && this.#client) return void (this.language = value);
    } else if (name in SETTINGS) return this.#changed();
    if (name === 'open' && this.#view) this.#opened(value !== null);
    if (this.isConnected && (name === 'auto-register' || name === 'incoming') && value !== null) void this.#register();
    this.#render();
  }

  /** Properties that were set before this script had come. */
  #adopt(): void {
    for (const name of ['client', 'config', 'password', 'turnPassword', 'customerData', 'labels', 'languages', 'language', ...REFLECTED]) {
      if (!Object.hasOwn(this, name)) continue;
      const self = this as unknown as Record<string, unknown>;
      const value = self[name];
      delete self[name];
      self[name] = value;
    }
  }

  #build(): void {
    const view = (this.#view = new View(this.attachShadow({ mode: 'open' })));
    const { launcher, close, call, done, accept, reject, mute, speaker, keypadToggle, hold, hangup, language, keys, card } = view.parts;
    const on = (target: EventTarget, act: (event: Event) => void, event = 'click'): void => {
      target.addEventListener(event, (happened) => {
        this.#sound.wake();
        act(happened);
      });
    };
    on(launcher.button, () => (this.open = !this.open));
    on(close.button, () => (this.open = false));
    on(call.button, () => void this.call());
    on(done.button, () => this.#show({ phase: 'idle' }, true));
    on(accept.button, () => {
      this.#show({ ...this.#shown, phase: 'connecting' }, true);
      this.#client?.acceptIncomingCall({ language: this.language }).catch((error: unknown) => this.#failed(error));
    });
    on(reject.button, () => void this.#client?.rejectIncomingCall().catch((error: unknown) => this.#tell(error)));
    on(hangup.button, () => void this.hangup());
    on(hold.button, () => void (this.#shown.held ? this.unhold() : this.hold()));
    on(mute.button, () => this.#setMuted(!this.#muted));
    on(speaker.button, () => {
      this.#speakerMuted = !this.#speakerMuted;
      void this.#client?.setSpeakerMuted(this.#speakerMuted).catch((error: unknown) => this.#tell(error));
      this.#render();
    });
    on(keypadToggle.button, () => this.#show({ ...this.#shown, keypad: !this.#shown.keypad }));
    on(language, () => (this.language = language.value), 'change');
    for (const key of keys) on(key, () => this.#press(key.dataset['key'] as string));
    card.addEventListener('keydown', (event) => this.#keyed(event));
    // Signs of intent: what takes time is prepared, without the microphone.
    const intend = (): void => this.#intend();
    this.addEventListener('pointerenter', () => (this.#intent = setTimeout(intend, INTENT_MS)));
    this.addEventListener('pointerleave', () => clearTimeout(this.#intent));
    this.addEventListener('pointerdown', intend);
    this.addEventListener('focusin', intend);
  }

  #intend(): void {
    clearTimeout(this.#intent);
    if (!['idle', 'ended', 'failed'].includes(this.#shown.phase)) return;
    // What is wrong is told when the visitor calls.
    void this.#own().prepare().catch(() => {});
  }

  #opened(open: boolean): void {
    const { card, launcher } = (this.#view as View).parts;
    const focused = this.shadowRoot?.activeElement;
    // What is not there yet takes no focus.
    this.#draw();
    if (!this.isConnected || this.#variant() !== 'floating') return;
    if (open) card.focus();
    else if (focused) launcher.button.focus();
    if (!open && ['ended', 'failed'].includes(this.#shown.phase)) this.#show({ phase: 'idle' });
  }

  #keyed(event: KeyboardEvent): void {
    if (event.key === 'Escape' && this.#variant() === 'floating') {
      event.stopPropagation();
      this.open = false;
    } else if (this.#shown.phase === 'connected' && this.#shown.keypad && KEYS.includes(event.key)) {
      event.preventDefault();
      this.#press(event.key);
    }
  }

  #press(key: string): void {
    this.#sound.tone(key);
    this.#view?.pressed(key);
    void this.#client?.sendDtmf(key).catch((error: unknown) => this.#tell(error));
  }

  #setMuted(muted: boolean): void {
    this.#muted = muted;
    void (muted ? this.#client?.mute() : this.#client?.unmute())?.catch((error: unknown) => this.#tell(error));
    this.#render();
  }

  // ---- the client ---------------------------------------------------------------------------------------------------

  /** The client; the element makes its own when the first need comes. */
  #own(): CodexSipClient {
    if (!this.#client) {
      const secrets = {
        ...(this.#password !== undefined && { JAMBONZ_SIP_PASSWORD: this.#password }),
        ...(this.#turnPassword !== undefined && { TURN_PASSWORD: this.#turnPassword }),
        ...(this.#language !== undefined && { DEFAULT_LANG: this.#language }),
      };
      this.#listen(createClient(configOf(this, this.#config, secrets)), false);
    }
    return this.#client as unknown as CodexSipClient;
  }

  async #register(): Promise<void> {
    // All attributes and properties of the same turn count.
    await Promise.resolve();
    if (this.isConnected) await this.#own().register().catch((error: unknown) => this.#tell(error));
  }

  #listen(client: CodexSipClient, given: boolean): void {
    this.#client = client;
    this.#given = given;
    this.#registered = false;
    const offs: (() => void)[] = [];
    const on = <E extends keyof ClientEvents>(event: E, act: (payload: ClientEvents[E]) => void): void => {
      client.on(event, act);
      offs.push(() => client.off(event, act));
    };
    on('call', (event) => this.#called(event));
    on('incomingCall', (event) => this.#rung(event));
    on('registration', (event) => {
      this.#registered = event.state === 'registered';
      this.#connected({ registering: 'connecting', registered: 'online', unregistered: 'ready', failed: 'failed' }[event.state] as Connection);
      this.#emit('codex-registration', event);
    });
    on('reconnecting', () => this.#connected('reconnecting'));
    on('metrics', (event) => this.#emit('codex-metrics', event));
    on('ice', ({ state }) => {
      if (state === 'disconnected' || state === 'failed') this.#connected('interrupted');
      else if (state === 'connected' || state === 'completed') this.#quality();
    });
    on('quality', ({ measure, bad }) => {
      if (bad) this.#bad.add(measure);
      else this.#bad.delete(measure);
      this.#quality();
    });
    on('hold', ({ held, heldByFarEnd }) => this.#show({ ...this.#shown, held, heldByFarEnd }));
    on('microphone', ({ state, code }) =>
      this.#show({ ...this.#shown, help: state === 'lost' ? (code ?? 'microphone_none') : undefined }),
    );
    on('error', (error) => this.#tell(error));
    this.#unlisten = () => offs.forEach((off) => off());
  }

  #leave(): void {
    this.#unlisten?.();
    const client = this.#client;
    if (client && !this.#given) void client.destroy().catch(() => {});
    this.#client = this.#unlisten = undefined;
    this.#given = false;
    this.#connection = 'ready';
    this.#muted = this.#speakerMuted = false;
    this.#show({ phase: 'idle' });
  }

  /** Other settings: the next call has another client. A call that is on goes on with what it began with. */
  #changed(): void {
    if (!this.#client || this.#given || this.#client.state !== 'idle') return;
    this.#leave();
    if (this.isConnected && (this.autoRegister || this.incoming)) void this.#register();
  }

  #called(event: CallStateEvent): void {
    const { state, code } = event;
    const now = performance.now();
    const phase = this.#shown.phase;
    this.#emit('codex-call', event);
    if (state === 'registering' || state === 'connecting') {
      // The microphone is asked for meanwhile.
      if (phase !== 'asking' && phase !== 'connecting') this.#show({ phase: 'asking' });
      if (state === 'connecting') this.#granted();
    } else if (state === 'ringing') this.#show({ phase: 'ringing' });
    else if (state === 'connected') {
      this.#bad.clear();
      this.#show({ phase: 'connected', since: this.#shown.since ?? now });
      this.#quality();
    } else if (state === 'error') this.#show({ phase: 'failed', code, help: code });
    else if (state === 'ended' && phase !== 'failed') {
      const { since } = this.#shown;
      const failed = since === undefined && code !== undefined && phase !== 'incoming' && code !== 'call_cancelled';
      if (phase === 'incoming') this.#show({ phase: 'idle' });
      else this.#show(failed ? { phase: 'failed', code } : { phase: 'ended', ...(since !== undefined && { lasted: now - since }) });
    } else if (state === 'idle') this.#leaveCall();
  }

  /** `startCall` comes back when the INVITE is out, and so when the microphone is granted. */
  #granted(): void {
    const check = (): void => {
      if (this.#shown.phase !== 'asking') return;
      if (this.#client?.getLocalMediaStream()) this.#show({ phase: 'connecting' });
      else setTimeout(check, METER_MS);
    };
    check();
  }

  /** There is no call any more. */
  #leaveCall(): void {
    const { phase } = this.#shown;
    if (!['idle', 'ended', 'failed'].includes(phase)) this.#show({ phase: 'ended' });
    if (this.#muted) this.#setMuted(false);
    if (this.#speakerMuted) void this.#client?.setSpeakerMuted(false).catch(() => {});
    this.#speakerMuted = false;
    this.#connected(this.#registered ? 'online' : 'ready');
    // A shared extension would ring every visitor who has ever called.
    if (!this.#given && !this.incoming && !this.autoRegister && this.#registered) {
      void this.#client?.unregister().catch(() => {});
    }
  }

  #rung(event: IncomingCallEvent): void {
    if (!this.#given && !this.incoming) {
      void this.#client?.rejectIncomingCall().catch((error: unknown) => this.#tell(error));
      return this.#show({ phase: 'idle' });
    }
    this.#emit('codex-incoming', event);
    const name = event.customerData?.clientName ?? event.displayFrom;
    this.#show({ phase: 'incoming', ...(name !== undefined && { caller: name }) });
    this.open = true;
  }

  #failed(error: unknown): void {
    const { code } = error as { code?: string };
    // Who has hung up knows.
    if (this.#shown.phase !== 'ended' && this.#shown.phase !== 'idle') this.#show({ phase: 'failed', code, help: code });
    if (this.#shown.phase === 'failed') this.#tell(error);
  }

  /** Each fault once. */
  #tell(error: unknown): void {
    if (error === this.#told) return;
    this.#told = error;
    console.error(error);
    this.#emit('codex-error', error as CodexError);
  }

  #emit<E extends keyof VoiceWidgetEvents>(name: E, detail: VoiceWidgetEvents[E]['detail']): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }

  // ---- what is seen -------------------------------------------------------------------------------------------------

  #connected(connection: Connection): void {
    this.#connection = connection;
    this.#render();
  }

  #quality(): void {
    if (this.#shown.phase === 'connected') this.#connected(this.#bad.size > 0 ? 'weak' : 'good');
  }

  /** `byHand`: what was pressed goes away, so that the focus has to go somewhere. */
  #show(shown: Shown, byHand = false): void {
    const before = this.#shown.phase;
    this.#shown = shown;
    this.#clocks();
    this.#view?.noteFocus();
    this.#draw();
    if (before !== shown.phase || byHand) this.#view?.keepFocus();
  }

  #clocks(): void {
    const { phase } = this.#shown;
    this.#stopClocks(phase);
    if (phase === 'connected') {
      this.#ticking ??= setInterval(() => this.#view?.tick(this.#shown), 1000);
      const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
      this.#metering ??= setInterval(() => this.#meter(), calm ? CALM_METER_MS : METER_MS);
    } else if (phase === 'incoming' && !this.#ringing) {
      this.#sound.wake();
      this.#sound.ring();
      this.#ringing = setInterval(() => this.#sound.ring(), RING_MS);
    }
  }

  #stopClocks(phase?: string): void {
    if (phase !== 'connected' && this.#metering !== undefined) {
      clearInterval(this.#ticking);
      clearInterval(this.#metering);
      this.#ticking = this.#metering = undefined;
      this.#sound.rest();
    }
    if (phase !== 'incoming') {
      clearInterval(this.#ringing);
      this.#ringing = undefined;
    }
  }

  #meter(): void {
    const client = this.#client;
    if (!client || document.visibilityState === 'hidden') return;
    const you = this.#muted ? 0 : this.#sound.level('you', client.getLocalMediaStream());
    const farEnd = this.#speakerMuted ? 0 : this.#sound.level('farEnd', client.getRemoteMediaStream());
    this.#view?.levels(you, farEnd);
  }

  #variant(): 'floating' | 'card' | 'inline' {
    const variant = this.getAttribute('variant');
    return variant === 'card' || variant === 'inline' ? variant : 'floating';
  }

  #pageLocale(): Locale {
    const language = (this.closest('[lang]') as HTMLElement | null)?.lang || navigator.language;
    return language.toLowerCase().startsWith('ru') ? 'ru' : 'en';
  }

  #locale(): Locale {
    const chosen = (this.getAttribute('locale') ?? this.language).toLowerCase().split('-')[0];
    return chosen === 'ru' || chosen === 'en' ? chosen : this.#pageLocale();
  }

  /** Once for all that changes in a turn. */
  #render(): void {
    if (this.#rendering || !this.#view) return;
    this.#rendering = true;
    queueMicrotask(() => {
      this.#rendering = false;
      this.#draw();
    });
  }

  #draw(): void {
    const locale = this.#locale();
    const theme = this.getAttribute('theme');
    const dark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
    const consent = this.getAttribute('consent');
    const labels: Labels = { ...TEXTS[locale], ...this.labels };
    const calling = ['asking', 'connecting', 'ringing'].includes(this.#shown.phase);
    this.#view?.draw({
      ...this.#shown,
      locale,
      labels: consent ? { ...labels, consent } : labels,
      dark,
      // Whatever the page's direction is: these texts go from left to right, unless the page has put others in their place.
      rightToLeft: this.getAttribute('dir') === 'rtl',
      variant: this.#variant(),
      position: this.getAttribute('position') ?? '',
      open: this.open,
      // A browser that sees no network may be wrong; a connection that is there is.
      connection: !navigator.onLine && ['ready', 'failed', 'reconnecting'].includes(this.#connection) && !calling ? 'offline' : calling && this.#connection === 'ready' ? 'connecting' : this.#connection,
      languages: this.languages,
      language: this.language,
      consent: consent !== null,
      consentUrl: this.getAttribute('consent-url'),
      muted: this.#muted,
      speakerMuted: this.#speakerMuted,
    });
  }
}

if (globalThis.customElements && !customElements.get('codex-voice-widget')) {
  reflect(CodexVoiceWidget.prototype);
  customElements.define('codex-voice-widget', CodexVoiceWidget);
}
