// One state of the element, by the address: ?state=…&theme=…&locale=…&variant=…&dir=…. Its client is a stand-in that tells
// what a client tells, so that every state can be looked at.

import '/package/element.js';

const asked = new URLSearchParams(location.search);
const get = (name, otherwise) => asked.get(name) ?? otherwise;

class Told {
  state = 'idle';
  language = 'en';
  handlers = new Map();
  done = [];

  on(name, handler) {
    this.handlers.set(name, [...(this.handlers.get(name) ?? []), handler]);
    return this;
  }

  off() {
    return this;
  }

  tell(name, payload = {}) {
    if (name === 'call') this.state = payload.state;
    for (const handler of this.handlers.get(name) ?? []) handler(payload);
  }

  getLocalMediaStream() {
    return this.stream ?? null;
  }

  getRemoteMediaStream() {
    return null;
  }
}
for (const name of ['register', 'unregister', 'startCall', 'hangup', 'acceptIncomingCall', 'rejectIncomingCall', 'mute',
  'unmute', 'setSpeakerMuted', 'hold', 'unhold', 'transfer', 'sendDtmf', 'setLanguage', 'prepare', 'destroy']) {
  Told.prototype[name] = async function (...given) {
    this.done.push([name, ...given]);
  };
}

const widget = document.createElement('codex-voice-widget');
const client = new Told();
for (const name of ['theme', 'locale', 'variant', 'position', 'languages', 'labels']) {
  if (asked.has(name)) widget.setAttribute(name, asked.get(name));
}
widget.setAttribute('consent', '');
widget.setAttribute('consent-url', '/privacy');
document.documentElement.dir = get('dir', 'ltr');
if (asked.has('own-dir')) widget.dir = get('own-dir');
document.documentElement.lang = get('locale', 'en');
document.documentElement.classList.toggle('dark', get('theme') === 'dark');
widget.client = client;
document.querySelector('main').append(widget);

const customerData = { callType: 'callback', clientName: 'Мария Петрова' };
const call = (state, more = {}) => client.tell('call', { state, ...more });
const connected = () => {
  call('connecting');
  call('connected');
};
const states = {
  closed: () => (widget.open = false),
  idle: () => {},
  asking: () => call('connecting'),
  connecting: () => {
    client.stream = new MediaStream();
    call('connecting');
  },
  ringing: () => call('ringing'),
  connected: () => connected(),
  keypad: async () => {
    connected();
    await settled();
    widget.shadowRoot.querySelector('[part=keypad-toggle]').click();
  },
  muted: async () => {
    connected();
    await settled();
    widget.shadowRoot.querySelector('[part=mute]').click();
  },
  weak: () => {
    connected();
    client.tell('quality', { measure: 'loss', bad: true, value: 9, threshold: 5 });
  },
  held: () => {
    connected();
    client.tell('hold', { held: false, heldByFarEnd: true });
  },
  reconnecting: () => {
    connected();
    client.tell('reconnecting', { attempt: 1, delayMs: 1000 });
  },
  lost: () => {
    connected();
    client.tell('microphone', { state: 'lost', code: 'microphone_none' });
  },
  incoming: () => {
    client.tell('incomingCall', { displayFrom: 'webcall:kqzmwbtr → voicebot', customerData });
    call('incoming');
  },
  ended: () => {
    connected();
    call('ended', { causeCode: 16 });
    call('idle');
  },
  denied: () => call('error', { code: 'microphone_denied' }),
  busy: () => {
    call('connecting');
    call('error', { code: 'call_busy', causeCode: 17 });
  },
  noConnection: () => call('error', { code: 'connect' }),
};
const settled = () => new Promise((resolve) => setTimeout(resolve));

await settled();
if (widget.getAttribute('variant') !== 'inline') widget.open = true;
await settled();
await states[get('state', 'idle')]?.();
Object.assign(window, { widget, client, states: Object.keys(states), shown: true });
document.title = `${get('state', 'idle')} ${get('theme', 'system')}`;
