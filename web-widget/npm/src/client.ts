// `CodexSipClient` and `createClient`.

import { Driver } from './driver.js';
import { CodexError } from './error.js';
import type { Devices } from './media.js';
import type {
  AcceptCallOptions,
  CallState,
  ClientEvents,
  EnvConfig,
  LogEvent,
  SipClientConfig,
  StartCallOptions,
} from './types.js';
import { Core, Settings, load } from './wasm.js';

type Handler<E extends keyof ClientEvents> = (event: ClientEvents[E]) => void;

/** A SIP client over WebSocket with the browser's own WebRTC. It is there at once; calls wait for the core to be loaded. */
export class CodexSipClient {
  /** Comes back when the core is loaded and the configuration found right; rejects with all that is wrong otherwise. */
  readonly ready: Promise<void>;

  readonly #handlers = new Map<string, Set<(event: never) => void>>();
  readonly #devices: Devices = {};
  #driver: Driver | undefined;
  #state: CallState = 'idle';
  #language: string;
  #destroyed = false;
  #unwatch: (() => void) | undefined;

  constructor(config: SipClientConfig);
  /** @internal */
  constructor(config: SipClientConfig | undefined, fill: () => Settings, language: string);
  constructor(config: SipClientConfig | undefined, fill?: () => Settings, language?: string) {
    this.#language = language ?? config?.defaultLanguage ?? 'en';
    if (config?.onMetrics) this.on('metrics', config.onMetrics);
    if (config?.onLog) this.on('log', config.onLog);
    this.ready = this.#start(fill ?? (() => settingsOf(config)));
    this.ready.catch((error: unknown) => this.#emit('error', error as CodexError));
  }

  /** Where the call stands. */
  get state(): CallState {
    return this.#state;
  }

  /** The language of calls that ask for none. */
  get language(): string {
    return this.#language;
  }

  on<E extends keyof ClientEvents>(event: E, handler: Handler<E>): this {
    let handlers = this.#handlers.get(event);
    if (!handlers) this.#handlers.set(event, (handlers = new Set()));
    handlers.add(handler as (event: never) => void);
    return this;
  }

  once<E extends keyof ClientEvents>(event: E, handler: Handler<E>): this {
    const wrapped: Handler<E> & { wraps?: unknown } = (payload) => {
      this.#handlers.get(event)?.delete(wrapped as (event: never) => void);
      handler(payload);
    };
    wrapped.wraps = handler;
    return this.on(event, wrapped);
  }

  off<E extends keyof ClientEvents>(event: E, handler: Handler<E>): this {
    const handlers = this.#handlers.get(event);
    for (const other of handlers ?? []) {
      if (other === handler || (other as { wraps?: unknown }).wraps === handler) handlers?.delete(other);
    }
    return this;
  }

  /** Connects and registers. */
  async register(): Promise<void> {
    await this.#command('register');
  }

  /** Gives the registration up and stops reconnecting. */
  async unregister(): Promise<void> {
    await this.#command('unregister');
  }

  /** Calls; registers first if need be. Comes back with the Call-ID when the INVITE is on its way. */
  async startCall(options: StartCallOptions = {}): Promise<string> {
    const customerData = json('customerData', options.customerData);
    const callId = await this.#give((core, now, id) => {
      for (const line of options.extraHeaders ?? []) core.header(line);
      core.start_call(now, id, options.language, customerData, options.targetUri);
    });
    return callId as string;
  }

  /** Ends the call. It is over here at once; comes back when the far end knows. */
  async hangup(reason?: string): Promise<void> {
    await this.#command('hangup', reason);
  }

  /** Takes the incoming call; comes back when it is up. */
  async acceptIncomingCall(options: AcceptCallOptions = {}): Promise<void> {
    await this.#command('accept', options.language);
  }

  /** Refuses the incoming call with 486. */
  async rejectIncomingCall(reason?: string): Promise<void> {
    await this.#command('reject', reason);
  }

  /** Sends silence. */
  async mute(): Promise<void> {
    await this.#command('mute', '1');
  }

  /** Sends the microphone again. */
  async unmute(): Promise<void> {
    await this.#command('mute', '0');
  }

  /** Hears silence, or no longer. */
  async setSpeakerMuted(muted: boolean): Promise<void> {
    await this.#command('speaker', muted ? '1' : '0');
  }

  /** Presses a key: `0` to `9`, `*`, `#`, `A` to `D`. */
  async sendDtmf(tone: string): Promise<void> {
    await this.#command('dtmf', String(tone));
  }

  /**
   * Puts the call on hold: the far end hears silence, and nothing of it is heard here. Comes back when it has agreed.
   * Mute is another matter and stays.
   */
  async hold(): Promise<void> {
    await this.#command('hold');
  }

  /** Takes the call back from hold. */
  async unhold(): Promise<void> {
    await this.#command('unhold');
  }

  /**
   * Sends the far end to somebody else, a SIP URI with a user part (blind transfer). Comes back when it is there; the
   * call then ends. `transfer` events tell how it gets on.
   */
  async transfer(targetUri: string): Promise<void> {
    await this.#command('transfer', String(targetUri));
  }

  /**
   * The URI with which somebody else takes our place at the far end of this call, for `transfer` of another client: an
   * attended transfer. Whoever knows it can take the call over.
   */
  async replacementUri(): Promise<string> {
    return (await this.#command('replacement')) as string;
  }

  /**
   * Opens the microphone and makes the offer of the next call, so that {@link startCall} calls at once: for the moment in
   * which somebody is about to call. Kept for a minute. Comes back when the offer is there.
   */
  async prepare(): Promise<void> {
    await this.#command('prepare');
  }

  /** Whether the edge still answers. */
  async checkConnection(): Promise<boolean> {
    return (await this.#command('check')) as boolean;
  }

  /** Sets the language of the calls to come. */
  async setLanguage(language: string): Promise<void> {
    await this.#command('language', language);
  }

  /** Plays what is heard through this element instead of one of its own. */
  setRemoteAudioElement(element: HTMLAudioElement | null): void {
    this.#devices.element = element ?? undefined;
    for (const session of this.#driver?.sessions() ?? []) void session.useOutput();
  }

  /** The microphone of the call; `null` outside of one. */
  getLocalMediaStream(): MediaStream | null {
    return this.#driver?.local ?? null;
  }

  /** Which microphone is used: a `deviceId`; the browser's choice if none is given. */
  async setAudioInput(deviceId?: string): Promise<void> {
    this.#devices.input = deviceId;
    for (const session of this.#driver?.sessions() ?? []) await session.useInput();
  }

  /** Which loudspeaker is used, where the browser lets a page choose: a `deviceId`. */
  async setAudioOutput(deviceId?: string): Promise<void> {
    this.#devices.output = deviceId ?? '';
    for (const session of this.#driver?.sessions() ?? []) await session.useOutput();
  }

  /** Ends everything: call, registration, connection. Every other method rejects afterwards. */
  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#unwatch?.();
    try {
      await this.ready;
    } catch {
      return;
    }
    const driver = this.#driver;
    if (!driver) return;
    await driver.command((core, now, id) => core.command(now, id, 'destroy', undefined));
    driver.end();
    this.#state = 'idle';
  }

  async #start(fill: () => Settings): Promise<void> {
    await load();
    let core: Core;
    try {
      core = new Core(fill(), Date.now() - performance.now());
    } catch (error) {
      if (typeof error !== 'string') throw error;
      const [code, message] = JSON.parse(error) as [string, string];
      throw new CodexError(code, message);
    }
    this.#language = core.language();
    this.#driver = new Driver(core, this.#devices, {
      event: (event, code) => this.#heard(event, code),
      log: (level, message, error) => {
        const entry: LogEvent = error === undefined ? { level, message } : { level, message, error: String(error) };
        this.#emit('log', entry);
      },
    });
    this.#driver.begin();
    if (!this.#destroyed) this.#watch(this.#driver);
  }

  /** What the browser says of network and page: timers sleep with the page, and a dead flow should be found at once. */
  #watch(driver: Driver): void {
    const look = (): void => {
      driver.wake();
      // Nothing is asked of a client that has no flow; whether it answers is the core's to tell.
      if (this.#registered) driver.command((core, now, id) => core.command(now, id, 'check', undefined)).catch(() => {});
    };
    const visible = (): void => {
      if (document.visibilityState === 'visible') look();
    };
    addEventListener('online', look);
    document.addEventListener('visibilitychange', visible);
    this.#unwatch = () => {
      removeEventListener('online', look);
      document.removeEventListener('visibilitychange', visible);
    };
  }

  #registered = false;

  #heard(heard: { event: string }, code?: string): void {
    const { event, ...payload } = heard as { event: string } & Record<string, unknown>;
    if (code !== undefined) payload['code'] = code;
    if (event === 'call') this.#state = payload['state'] as CallState;
    else if (event === 'language') this.#language = payload['language'] as string;
    else if (event === 'registration') this.#registered = payload['state'] === 'registered';
    this.#emit(event as keyof ClientEvents, payload as never);
  }

  #emit<E extends keyof ClientEvents>(event: E, payload: ClientEvents[E]): void {
    for (const handler of [...(this.#handlers.get(event) ?? [])]) {
      try {
        (handler as Handler<E>)(payload);
      } catch (error) {
        // A listener's fault is its own, and the console's.
        reportError(error);
      }
    }
  }

  #command(name: string, argument?: string): Promise<unknown> {
    return this.#give((core, now, id) => core.command(now, id, name, argument));
  }

  async #give(give: (core: Core, now: number, id: number) => void): Promise<unknown> {
    if (this.#destroyed) throw new CodexError('destroyed', 'the client has been destroyed; make a new one');
    await this.ready;
    return (this.#driver as Driver).command(give);
  }
}

function json(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw new CodexError('customer_data', `${name} cannot be written as JSON: ${String(error)}`, error);
  }
}

const NOT_FOR_THE_CORE = new Set(['iceServers', 'extraHeaders', 'customerData', 'onMetrics', 'onLog']);

function settingsOf(config: SipClientConfig | undefined): Settings {
  const settings = new Settings(false);
  for (const [name, value] of Object.entries(config ?? {})) {
    if (value === undefined || value === null || NOT_FOR_THE_CORE.has(name)) continue;
    settings.set(name, String(value));
  }
  for (const line of config?.extraHeaders ?? []) settings.set('extraHeaders', line);
  const customerData = json('customerData', config?.customerData);
  if (customerData !== undefined) settings.set('customerData', customerData);
  for (const { urls, username, credential } of config?.iceServers ?? []) {
    settings.ice_server([urls].flat().join(' '), username, credential);
  }
  return settings;
}

/** A client from keys and values as they stand in a `.env` file. It is there at once; see {@link CodexSipClient.ready}. */
export function createClient(config: EnvConfig): CodexSipClient {
  // As it is now: what is changed in the object later is not meant.
  const given = Object.entries(config).flatMap(([name, value]): [string, string][] => {
    if (value === undefined || value === null) return [];
    const text = Array.isArray(value) ? value.join(' ') : typeof value === 'object' ? JSON.stringify(value) : String(value);
    return [[name, text]];
  });
  const fill = (): Settings => {
    const settings = new Settings(true);
    for (const [name, text] of given) settings.set(name, text);
    return settings;
  };
  // Until the core is there; it then says what holds.
  const language = String(config.DEFAULT_LANG ?? config['VITE_DEFAULT_LANG'] ?? 'en');
  return new CodexSipClient(undefined, fill, language);
}
