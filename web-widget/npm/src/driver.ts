// Carries out what the core asks for, and tells it what happened.

import { CodexError } from './error.js';
import { MediaSession, PreparedConnection, type Devices, type Direction, type MicrophoneState } from './media.js';
import type { Core } from './wasm.js';

/** Timers take no more (a signed 32-bit number of milliseconds). */
const LONGEST_TIMER_MS = 0x7fffffff;

/** Orders whose failure the core has to know of, and under which name. */
const AWAITED: Record<string, string | undefined> = { offer: 'offer', restart: 'offer', answer: 'answer', take: 'taken' };

/** An output of the core: its name, then what belongs to it. */
type Output = [name: string, ...rest: unknown[]];

interface Waiting {
  resolve(value: unknown): void;
  reject(error: CodexError): void;
}

export interface DriverListener {
  /** An event as the core wrote it; `code` is there if an error belongs to it. */
  event(event: { event: string }, code?: string): void;
  log(level: 'info' | 'warn' | 'error', message: string, error?: unknown): void;
  microphone(state: MicrophoneState, code?: string): void;
}

export class Driver {
  readonly #core: Core;
  readonly #listener: DriverListener;
  readonly #devices: Devices;
  readonly #flows = new Map<number, WebSocket>();
  readonly #media = new Map<number, MediaSession>();
  readonly #orders = new Map<number, Promise<void>>();
  readonly #waiting = new Map<number, Waiting>();
  #nextCommand = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running = false;
  #ended = false;
  /** Why the microphone could not be used: more than the core can tell. */
  #fault: CodexError | undefined;

  constructor(core: Core, devices: Devices, listener: DriverListener) {
    this.#core = core;
    this.#devices = devices;
    this.#listener = listener;
  }

  get local(): MediaStream | null {
    for (const session of this.#media.values()) if (session.local) return session.local;
    return null;
  }

  sessions(): Iterable<MediaSession> {
    return this.#media.values();
  }

  /** Gives a command to the core; comes back with its answer. */
  command(give: (core: Core, now: number, id: number) => void): Promise<unknown> {
    if (this.#ended) return Promise.reject(new CodexError('destroyed', 'the client has been destroyed; make a new one'));
    const id = this.#nextCommand++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#tell((core, now) => give(core, now, id));
    });
  }

  /** Something outside changed: timers may be late. */
  wake(): void {
    if (!this.#ended) this.#tell((core, now) => core.timeout(now));
  }

  /** Gathers candidates for the next call, without the microphone. What was gathered lately will do. */
  async prepare(): Promise<void> {
    if (this.#ended || this.#media.size > 0 || this.#devices.prepared?.closed === false) return;
    const prepared = new PreparedConnection(configuration(JSON.parse(this.#core.media_settings()) as unknown[]));
    this.#devices.prepared = prepared;
    await prepared.gather();
  }

  /** Carries out what the core has had to say since it was made. */
  begin(): void {
    this.#tell(() => {});
  }

  end(why = new CodexError('destroyed', 'the client was destroyed meanwhile')): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    for (const session of this.#media.values()) session.close();
    this.#media.clear();
    this.#devices.prepared?.close();
    for (const socket of this.#flows.values()) socket.close();
    for (const waiting of this.#waiting.values()) waiting.reject(why);
    this.#waiting.clear();
    // What has trapped is not freed.
    if (why.code === 'destroyed') this.#core.free();
  }

  #tell(what: (core: Core, now: number) => void): void {
    if (this.#ended) return;
    try {
      what(this.#core, performance.now());
    } catch (cause) {
      return this.#broke(cause);
    }
    // A listener may give a command: its outputs come after those that are being carried out.
    if (this.#running) return;
    this.#running = true;
    try {
      for (;;) {
        const outputs = JSON.parse(this.#core.take_outputs()) as Output[];
        if (outputs.length === 0) break;
        for (const output of outputs) {
          this.#carryOut(output);
          if (this.#ended) return;
        }
      }
    } catch (cause) {
      return this.#broke(cause);
    } finally {
      this.#running = false;
    }
    this.#schedule();
  }

  /** A core that has trapped cannot be asked again. */
  #broke(cause: unknown): void {
    if (this.#ended) return;
    this.#listener.log('error', 'the core broke; make a new client', cause);
    this.end(new CodexError('core', `the core broke: ${String(cause)}`, cause));
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const due = this.#core.next_timeout();
    if (due === undefined) return;
    const delay = Math.min(Math.max(0, Math.ceil(due - performance.now())), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.wake(), delay);
  }

  #carryOut([name, ...rest]: Output): void {
    switch (name) {
      case 'open':
        return this.#open(rest[0] as number, rest[1] as string);
      case 'close':
        return this.#flows.get(rest[0] as number)?.close(1000);
      case 'send': {
        const socket = this.#flows.get(rest[0] as number);
        if (socket?.readyState === WebSocket.OPEN) socket.send(rest[1] as string);
        return;
      }
      case 'media':
        return this.#order(rest as [number, string, ...unknown[]]);
      case 'done':
        this.#answered(rest[0] as number)?.resolve(rest[1]);
        return;
      case 'failed': {
        const [id, code, message] = rest as [number, string, string];
        const fault = code === 'audio' ? this.#fault : undefined;
        this.#answered(id)?.reject(fault ?? new CodexError(code, message));
        return;
      }
      case 'warn':
        return this.#listener.log('warn', rest[0] as string);
      case 'event': {
        const code = rest[1] as string | undefined;
        const fault = code === 'audio' ? this.#fault?.code : undefined;
        return this.#listener.event(rest[0] as { event: string }, fault ?? code);
      }
    }
  }

  #answered(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #open(flow: number, address: string): void {
    let socket: WebSocket;
    try {
      socket = new WebSocket(address, 'sip');
    } catch (error) {
      // Such as an unencrypted address in a secure page.
      queueMicrotask(() => this.#tell((core, now) => core.flow_failed(now, flow, String(error))));
      return;
    }
    socket.binaryType = 'arraybuffer';
    this.#flows.set(flow, socket);
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#tell((core, now) => core.flow_opened(now, flow));
    };
    socket.onmessage = ({ data }) => {
      const message = typeof data === 'string' ? data : new TextDecoder().decode(data as ArrayBuffer);
      this.#tell((core, now) => core.received(now, flow, message));
    };
    socket.onclose = ({ code, reason, wasClean }) => {
      this.#flows.delete(flow);
      const why = `the WebSocket closed with ${code}${reason ? ` ${reason}` : ''}`;
      this.#tell((core, now) =>
        opened
          ? core.flow_closed(now, flow, wasClean && code === 1000 ? undefined : why)
          : core.flow_failed(now, flow, `${why}; why, browsers keep to themselves`),
      );
    };
  }

  /** Orders of one call are carried out one after the other. */
  #order([call, name, ...rest]: [number, string, ...unknown[]]): void {
    let session = this.#media.get(call);
    if (!session) {
      session = new MediaSession(this.#devices, {
        ice: (state) => this.#tell((core, now) => core.ice(now, call, state)),
        broken: (what) => this.#tell((core, now) => core.media_failed(now, call, what, undefined, '')),
        log: (level, message, error) => this.#listener.log(level, message, error),
        microphone: (state, fault) => this.#listener.microphone(state, fault?.code),
      });
      this.#media.set(call, session);
    }
    const of = session;
    if (name === 'end') {
      // At once: whatever is under way finds the session closed.
      this.#media.delete(call);
      this.#orders.delete(call);
      return of.close();
    }
    const before = this.#orders.get(call);
    const run = (): Promise<void> => this.#carryOutOrder(call, of, name, rest);
    this.#orders.set(call, before ? before.then(run) : run());
  }

  async #carryOutOrder(call: number, session: MediaSession, name: string, rest: unknown[]): Promise<void> {
    try {
      switch (name) {
        case 'offer': {
          const sdp = await session.offer(configuration(rest));
          return this.#tell((core, now) => core.described(now, call, true, sdp));
        }
        case 'answer': {
          const sdp = await session.answer(configuration(rest), rest[2] as string);
          return this.#tell((core, now) => core.described(now, call, false, sdp));
        }
        case 'take':
          await session.take(rest[0] as string);
          return this.#tell((core, now) => core.answer_taken(now, call));
        case 'restart': {
          const sdp = await session.restart(configuration(rest));
          return this.#tell((core, now) => core.described(now, call, true, sdp));
        }
        case 'rollback':
          return await session.rollback();
        case 'direction':
          return await session.direct(rest[0] as Direction);
        case 'mute':
          return session.mute(rest[0] as boolean);
        case 'speaker':
          return session.muteSpeaker(rest[0] as boolean);
        case 'dtmf': {
          const [id, tone] = rest as [number, string];
          const sent = session.press(tone);
          return this.#tell((core, now) => core.dtmf_sent(now, call, id, tone, sent));
        }
        case 'statistics': {
          const s = await session.statistics();
          return this.#tell((core, now) =>
            core.statistics(
              now,
              call,
              s.packetsSent,
              s.bytesSent,
              s.packetsReceived,
              s.bytesReceived,
              s.packetsLost,
              s.jitterMs,
              s.roundTripMs,
              s.sourceHeard,
              s.codec,
            ),
          );
        }
      }
    } catch (error) {
      // A session that was ended meanwhile owes nobody an answer.
      if (this.#media.get(call) !== session) return;
      const what = AWAITED[name];
      if (!what) return this.#listener.log('warn', `the media session could not carry out ${name}`, error);
      const fault = error instanceof CodexError ? error : undefined;
      this.#fault = fault;
      const problem = error instanceof Error ? error.message : String(error);
      this.#tell((core, now) => core.media_failed(now, call, what, fault && 'microphone', problem));
    }
  }
}

function configuration(rest: unknown[]): RTCConfiguration {
  const [servers, policy] = rest as [[string, string, ...string[]][], RTCIceTransportPolicy];
  const iceServers = servers.map(([username, credential, ...urls]) =>
    username || credential ? { urls, username, credential } : { urls },
  );
  return { iceServers, iceTransportPolicy: policy };
}
