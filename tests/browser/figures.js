// Many calls, and what they leave behind. The page keeps nothing of them but what is counted.

import * as codex from '/package/index.js';

const connections = [];
const Original = RTCPeerConnection;
window.RTCPeerConnection = class extends Original {
  constructor(...given) {
    super(...given);
    connections.push(this);
  }
};
// The module's memory, which the package keeps to itself.
const instantiate = WebAssembly.instantiateStreaming;
WebAssembly.instantiateStreaming = async (...given) => {
  const made = await instantiate(...given);
  window.moduleMemory = made.instance.exports.memory;
  return made;
};
Object.assign(window, { codex, connections });
