// `CodexSipClient` and `createClient`.

import { Driver } from './driver.js';
import { CodexError } from './error.js';
import type { Devices } from './media.js';
import { Tokens, type Credentials } from './tokens.js';
import type {
  AcceptCallOptions,
  CallState,
  ClientEvents,
  EnvConfig,
  LogEvent,
  SipClientConfig,
  StartCallOptions,
  TokenEnvConfig,
  TokenSipClientConfig,
} from './types.js';
import { Core, Settings, load } from './wasm.js';

type Handler<E extends keyof ClientEvents> = (event: ClientEvents[E]) => void;

/** A SIP client over WebSocket with the browser's own WebRTC. It is there at once; calls wait for the core to be loaded. */
export class CodexSipClient {
  /** Comes back when the core is loaded and the configuration found right; rejects with all that is wrong otherwise. */
  readonly ready: Promise<void>;

  readonly #handlers = new Map<string, Set<(event: never) => void>>();
  readonly #devices: Devices = {};
  readonly #fill: (credentials?: Credentials) => Settings;
  readonly #tokens: Tokens | undefined;
  /** What was set in the core and is to be set in the one that comes with other credentials. */
  readonly #kept = new Map<string, string>();
  #driver: Driver | undefined;
  #renewing: Promise<void> | undefined;
  #renewTimer: ReturnType<typeof setTimeout> | undefined;
  #state: CallState = 'idle';
  #language: string;
  #registered = false;
  #destroyed = false;
  #unwatch: (() => void) | undefined;

  constructor(config: SipClientConfig | TokenSipClientConfig);
  /** @internal */
  constructor(config: undefined, given: Given);
  constructor(config: SipClientConfig | TokenSipClientConfig | undefined, given: Given = givenBy(config)) {
    this.#language = given.language;
    this.#fill = given.fill;
    this.#tokens = given.tokenUrl === undefined ? undefined : new Tokens(given.tokenUrl);
    if (config?.onMetrics) this.on('metrics', config.onMetrics);
    if (config?.onLog) this.on('log', config.onLog);
    this.ready = this.#start();
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
    await this.#credentials();
    await this.#command('register');
  }

  /** Gives the registration up and stops reconnecting. */
  async unregister(): Promise<void> {
    await this.#command('unregister');
  }

  /** Calls; registers first if need be. Comes back with the Call-ID when the INVITE is on its way. */
  async startCall(options: StartCallOptions = {}): Promise<string> {
    const customerData = json('customerData', options.customerData);
    await this.#credentials();
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
   * Loads what a call needs and gathers ICE candidates, so that {@link startCall} is quicker: for a person's first sign of
   * intent, such as a pointer over the button, not for the load of a page, since it may allocate a TURN relay. It opens no
   * microphone, and registers nothing. Candidates are kept for a minute, and gathered again where the visitor allows the
   * microphone only then, since browsers show all addresses only to pages that have it.
   */
  async prepare(): Promise<void> {
    await this.#credentials();
    await (this.#driver as Driver).prepare();
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

  /** What is heard from the far end; `null` outside of a call. */
  getRemoteMediaStream(): MediaStream | null {
    for (const session of this.#driver?.sessions() ?? []) if (session.remote) return session.remote;
    return null;
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
    clearTimeout(this.#renewTimer);
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

  async #start(): Promise<void> {
    await load();
    // Whether the configuration is right does not depend on credentials that are still to be fetched.
    const placeholder = { username: 'token', password: 'token', until: 0 };
    this.#drive(this.#tokens && placeholder);
    this.#language = this.#kept.get('language') ?? this.#language;
    if (!this.#destroyed) this.#watch();
  }

  /** Another core takes the place of the one there is. */
  #drive(credentials: Credentials | undefined): void {
    let core: Core;
    try {
      core = new Core(this.#fill(credentials), Date.now() - performance.now());
    } catch (error) {
      if (typeof error !== 'string') throw error;
      const [code, message] = JSON.parse(error) as [string, string];
      throw new CodexError(code, message);
    }
    const before = this.#driver;
    const current = (): boolean => this.#driver === driver;
    const driver = new Driver(core, this.#devices, {
      event: (event, code) => {
        if (current()) this.#heard(event, code);
      },
      log: (level, message, error) => {
        const entry: LogEvent = error === undefined ? { level, message } : { level, message, error: String(error) };
        if (current()) this.#emit('log', entry);
      },
      microphone: (state, code) => this.#emit('microphone', code === undefined ? { state } : { state, code }),
    });
    this.#driver = driver;
    this.#language = core.language();
    driver.begin();
    for (const [name, argument] of this.#kept) driver.command((c, now, id) => c.command(now, id, name, argument)).catch(() => {});
    // It says good-bye by itself.
    void before
      ?.command((c, now, id) => c.command(now, id, 'destroy', undefined))
      .catch(() => {})
      .finally(() => before.end());
  }

  /** Sees to credentials that are good for what is asked for now. */
  async #credentials(): Promise<void> {
    if (this.#destroyed) throw destroyed();
    await this.ready;
    const tokens = this.#tokens;
    // A call goes on with those that it began with.
    if (!tokens || tokens.fresh || this.#state !== 'idle') return;
    await (this.#renewing ??= this.#renew(tokens).finally(() => (this.#renewing = undefined)));
  }

  async #renew(tokens: Tokens): Promise<void> {
    const credentials = await tokens.fetch();
    if (this.#destroyed) throw destroyed();
    this.#drive(credentials);
    clearTimeout(this.#renewTimer);
    this.#renewTimer = setTimeout(() => this.#renewIdle(), Math.min(Math.max(tokens.renewInMs, RENEW_AT_LEAST_MS), 0x7fffffff));
  }

  /** One who waits for calls registers with others before the ones in use end; at once, or after the call. */
  #renewIdle(): void {
    if (!this.#registered || this.#state !== 'idle' || !this.#tokens || this.#tokens.fresh || this.#destroyed) return;
    this.register().catch((error: unknown) => {
      this.#emit('log', { level: 'error', message: 'other credentials could not be had', error: String(error) });
      this.#renewTimer = setTimeout(() => this.#renewIdle(), RENEW_AGAIN_MS);
    });
  }

  /** What the browser says of network and page: timers sleep with the page, and a dead flow should be found at once. */
  #watch(): void {
    const tell = (name: string, argument?: string): void => {
      this.#driver?.command((core, now, id) => core.command(now, id, name, argument)).catch(() => {});
    };
    const look = (): void => {
      this.#driver?.wake();
      this.#renewIdle();
      // A page that was frozen has its sound stopped.
      for (const session of this.#driver?.sessions() ?? []) void session.useOutput();
      // Nothing is asked of a client that has no flow; whether it answers is the core's to tell.
      if (this.#registered) tell('check');
    };
    const moved = (): void => {
      this.#driver?.wake();
      if (this.#registered) tell('network');
    };
    const connection = (navigator as { connection?: EventTarget & { type?: string } }).connection;
    let network = connection?.type;
    let wasRegistered = false;
    const stop = new AbortController();
    const { signal } = stop;
    // The flow of before is of a network that may be gone.
    addEventListener('online', moved, { signal });
    // It tells of estimates as well, which change all the time; the type is not told everywhere.
    connection?.addEventListener('change', () => {
      if (connection.type === network) return;
      network = connection.type;
      if (network !== 'none') moved();
    }, { signal });
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') look();
    }, { signal });
    document.addEventListener('resume', look, { signal });
    // The far end is told, and nobody is called who has left. All of it goes out before the page is gone.
    addEventListener('pagehide', () => {
      wasRegistered = this.#registered;
      if (this.#state !== 'idle') tell('hangup');
      if (wasRegistered) tell('unregister');
    }, { signal });
    addEventListener('pageshow', (event) => {
      if (event.persisted && wasRegistered) this.register().catch(() => {});
    }, { signal });
    this.#unwatch = () => stop.abort();
  }

  #heard(heard: { event: string }, code?: string): void {
    const { event, ...payload } = heard as { event: string } & Record<string, unknown>;
    if (code !== undefined) payload['code'] = code;
    if (event === 'call') this.#state = payload['state'] as CallState;
    else if (event === 'language') this.#language = payload['language'] as string;
    else if (event === 'registration') this.#registered = payload['state'] === 'registered';
    this.#emit(event as keyof ClientEvents, payload as never);
    if (event === 'call' && this.#state === 'idle') this.#renewIdle();
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

  async #command(name: string, argument?: string): Promise<unknown> {
    if (argument !== undefined && KEPT.has(name)) this.#kept.set(name, argument);
    return this.#give((core, now, id) => core.command(now, id, name, argument));
  }

  async #give(give: (core: Core, now: number, id: number) => void): Promise<unknown> {
    if (this.#destroyed) throw destroyed();
    await this.ready;
    return (this.#driver as Driver).command(give);
  }
}

/** Settings that hold until they are set again. */
const KEPT = new Set(['language', 'mute', 'speaker']);
/** How soon others are fetched at the earliest, in milliseconds, however short those are that one is given. */
const RENEW_AT_LEAST_MS = 5_000;
/** After how long other credentials are asked for once more, in milliseconds. */
const RENEW_AGAIN_MS = 30_000;

function destroyed(): CodexError {
  return new CodexError('destroyed', 'the client has been destroyed; make a new one');
}

function json(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  try {
    return JSON.stringify(value);
  } catch (error) {
    throw new CodexError('customer_data', `${name} cannot be written as JSON: ${String(error)}`, error);
  }
}

/** What a client is made of. */
interface Given {
  language: string;
  tokenUrl?: string | undefined;
  fill(credentials?: Credentials): Settings;
}

const NOT_FOR_THE_CORE = new Set(['iceServers', 'extraHeaders', 'customerData', 'onMetrics', 'onLog', 'tokenUrl']);

function givenBy(config: SipClientConfig | TokenSipClientConfig | undefined): Given {
  const fill = (credentials?: Credentials): Settings => {
    const settings = new Settings(false);
    for (const [name, value] of Object.entries({ ...config, ...(credentials && sipNames(credentials)) })) {
      if (value === undefined || value === null || NOT_FOR_THE_CORE.has(name)) continue;
      settings.set(name, String(value));
    }
    for (const line of config?.extraHeaders ?? []) settings.set('extraHeaders', line);
    const name = credentials?.applicationName;
    if (name && !config?.targetApplicationName) settings.set('targetApplicationName', name);
    const customerData = json('customerData', config?.customerData);
    if (customerData !== undefined) settings.set('customerData', customerData);
    for (const { urls, username, credential } of config?.iceServers ?? []) {
      settings.ice_server([urls].flat().join(' '), username, credential);
    }
    return settings;
  };
  return { language: config?.defaultLanguage ?? 'en', tokenUrl: config?.tokenUrl, fill };
}

function sipNames({ username, password }: Credentials): { username: string; password: string } {
  return { username, password };
}

/** A client from keys and values as they stand in a `.env` file. It is there at once; see {@link CodexSipClient.ready}. */
export function createClient(config: EnvConfig | TokenEnvConfig): CodexSipClient {
  // As it is now: what is changed in the object later is not meant. Empty is not set.
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined || value === null) continue;
    const text = Array.isArray(value) ? value.join(' ') : typeof value === 'object' ? JSON.stringify(value) : String(value);
    given.set(name, text);
  }
  const value = (name: string): string | undefined => given.get(name) ?? given.get(`VITE_${name}`);
  const tokenUrl = value('TOKEN_URL') || undefined;
  for (const name of ['TOKEN_URL', 'VITE_TOKEN_URL']) given.delete(name);
  const fill = (credentials?: Credentials): Settings => {
    const settings = new Settings(true);
    const all = new Map(given);
    if (credentials) {
      for (const [name, text] of [['USERNAME', credentials.username], ['PASSWORD', credentials.password]] as const) {
        all.delete(`VITE_JAMBONZ_SIP_${name}`);
        all.set(`JAMBONZ_SIP_${name}`, text);
      }
      const name = credentials.applicationName;
      if (name && !value('TARGET_APPLICATION_NAME')) all.set('TARGET_APPLICATION_NAME', name);
    }
    for (const [name, text] of all) settings.set(name, text);
    return settings;
  };
  // The language until the core is there, which then says what holds.
  return new CodexSipClient(undefined, { language: value('DEFAULT_LANG') ?? 'en', tokenUrl, fill });
}
