// A page with the element, and what scenarios ask it.

import '/package/element.js';

const NAMES = ['codex-call', 'codex-registration', 'codex-incoming', 'codex-metrics', 'codex-error'];
const events = [];
const violations = [];
const unhandled = [];
const connections = [];
const streams = [];
document.addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
addEventListener('unhandledrejection', (event) => unhandled.push(String(event.reason)));
for (const name of NAMES) {
  // They bubble up to the document.
  document.addEventListener(name, ({ detail, target }) => {
    const { state, code, message } = detail;
    events.push({ state, code, message, ...JSON.parse(JSON.stringify(detail)), name, id: target.id });
    console.debug(name, JSON.stringify(detail));
  });
}
const Original = RTCPeerConnection;
window.RTCPeerConnection = class extends Original {
  constructor(...given) {
    super(...given);
    connections.push(this);
  }
};
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (asked) => {
  const stream = await open(asked);
  streams.push(stream);
  return stream;
};

/** The element with these attributes and properties. */
function mount(attributes, properties = {}) {
  const widget = Object.assign(document.createElement('codex-voice-widget'), properties);
  for (const [name, value] of Object.entries(attributes)) widget.setAttribute(name, value);
  document.querySelector('main').append(widget);
  return widget;
}

/** Comes back with what `of` gives as soon as that is something. */
async function until(of, what = String(of), limitMs = 15000) {
  for (const end = performance.now() + limitMs; ; ) {
    const found = await of();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}; ${JSON.stringify(events.slice(-5))}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const part = (name, widget = document.querySelector('codex-voice-widget')) =>
  widget.shadowRoot.querySelector(`[part~="${name}"]`);
const seen = (name, widget) => part(name, widget)?.checkVisibility() ?? false;
const text = (name, widget) => part(name, widget).textContent.trim();
const phase = (widget) => part('root', widget).dataset.phase;
const reaches = (wanted, widget) => until(() => phase(widget) === wanted && wanted, `phase ${wanted}`);
const focused = (widget = document.querySelector('codex-voice-widget')) => widget.shadowRoot.activeElement?.getAttribute('part');

Object.assign(window, { mount, until, part, seen, text, phase, reaches, focused, events, violations, unhandled, connections, streams });
