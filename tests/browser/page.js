// What scenarios do with the package in a page. Everything a client tells is kept, with its time.

import * as codex from '/package/index.js';

const connections = [];
const Original = RTCPeerConnection;
window.RTCPeerConnection = class extends Original {
  constructor(...args) {
    super(...args);
    connections.push(this);
  }
};
const unhandled = [];
addEventListener('unhandledrejection', (event) => {
  unhandled.push(String(event.reason));
  console.error('unhandled', event.reason?.stack ?? String(event.reason));
});

const EVENTS = ['registration', 'call', 'incomingCall', 'metrics', 'ice', 'dtmf', 'hold', 'transfer', 'quality',
  'reconnecting', 'language', 'log', 'error'];

class Phone {
  events = [];
  #waiting = [];

  constructor(client) {
    this.client = client;
    for (const name of EVENTS) {
      client.on(name, (event) => {
        const payload = event instanceof Error ? { code: event.code, message: event.message } : event;
        const entry = { name, at: performance.now(), ...JSON.parse(JSON.stringify(payload)) };
        this.events.push(entry);
        console.debug(name, JSON.stringify(payload));
        this.#waiting = this.#waiting.filter((waiting) => !waiting(entry));
      });
    }
  }

  /** The first event of this name, from the beginning or from `after`, that `fits`. */
  until(name, fits = () => true, limitMs = 15000, after = 0) {
    const found = this.events.find((event) => event.at > after && event.name === name && fits(event));
    if (found) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ${name} within ${limitMs} ms`)), limitMs);
      this.#waiting.push((event) => {
        if (event.name !== name || !fits(event)) return false;
        clearTimeout(timer);
        resolve(event);
        return true;
      });
    });
  }

  reaches(state, limitMs) {
    return this.until('call', (event) => event.state === state, limitMs);
  }

  states() {
    return this.events.filter((event) => event.name === 'call').map((event) => event.state);
  }
}

/** What a call rejects with. */
async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return { code: error.code, message: error.message, isCodexError: error instanceof codex.CodexError };
  }
  throw new Error('it was expected to reject');
}

/** What went over the newest connection, by the browser's own count. */
async function counted() {
  const sums = { packetsSent: 0, packetsReceived: 0, energySent: 0, energyReceived: 0 };
  const report = await connections.at(-1).getStats();
  for (const entry of report.values()) {
    if (entry.type === 'outbound-rtp') sums.packetsSent += entry.packetsSent;
    if (entry.type === 'inbound-rtp') {
      sums.packetsReceived += entry.packetsReceived;
      sums.energyReceived += entry.totalAudioEnergy ?? 0;
    }
    if (entry.type === 'media-source') sums.energySent += entry.totalAudioEnergy ?? 0;
  }
  return sums;
}

/** Audio both ways of the newest connection, once there is some more than there was `before`. */
async function heard(before, limitMs = 15000) {
  const end = performance.now() + limitMs;
  for (;;) {
    const sums = await counted();
    const more = (name) => sums[name] - (before?.[name] ?? 0);
    // A source that takes another's place counts from nothing.
    const ours = before ? sums.energySent > 0 : more('energySent') > 0;
    if (more('packetsSent') > 100 && more('packetsReceived') > 100 && ours && more('energyReceived') > 0) return sums;
    if (performance.now() > end) throw new Error(`no audio both ways: ${JSON.stringify(sums)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

Object.assign(window, { codex, Phone, refusal, counted, heard, connections, unhandled });
