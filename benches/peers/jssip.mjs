// node jssip.mjs MESSAGES SECONDS, in a folder with node_modules/jssip. Prints `OPERATION SAMPLE NANOSECONDS…` a line:
// processor time of one operation, one figure a round.
//
// JsSIP's parser makes typed values of Via, To, From, Contact and CSeq as it reads; Record-Route is asked for.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const [messages, seconds] = process.argv.slice(2);
const require = createRequire(join(process.cwd(), 'index.js'));
globalThis.WebSocket ??= class { close() {} };
const JsSIP = require('jssip');
JsSIP.debug.disable();
const library = (file) => require(join(process.cwd(), 'node_modules/jssip/lib', file));
const Parser = library('Parser.js');
const { OutgoingRequest } = library('SIPMessage.js');

const socket = { url: 'wss://edge.example.org', via_transport: 'WSS', sip_uri: 'sip:edge.example.org;transport=ws',
  connect() {}, disconnect() {}, send() { return true; } };
const ua = new JsSIP.UA({ sockets: [socket], uri: 'sip:visitor-17@pbx.example.org', register: false });

// What OutgoingRequest writes by itself.
const OWN = /^(Via|Max-Forwards|To|From|Call-ID|CSeq|Content-Length|Allow|Supported|User-Agent)$/i;

function operations(text) {
  const extra = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n').slice(1).filter((line) => !OWN.test(line.split(':')[0]));
  const parse = () => Parser.parseMessage(text, ua);
  const write = (m) => {
    const request = new OutgoingRequest(m.method, m.ruri, ua, { to_uri: m.to.uri, from_uri: m.from.uri,
      from_display_name: m.from.display_name, from_tag: m.from_tag, call_id: m.call_id, cseq: m.cseq }, extra, m.body);
    m.getHeaders('via').forEach((via) => request.setHeader('via', via));
    return request.toString();
  };
  const parsed = parse();
  if (!parsed || write(parsed).length < text.length * 0.9) throw new Error('JsSIP does not read or write the sample');
  const typed = () => {
    const m = parse();
    for (let i = 0; i < m.getHeaders('record-route').length; i++) m.parseHeader('record-route', i).uri;
    return write(m);
  };
  return { parse, typed, write: () => write(parsed) };
}

function round(run, length) {
  const before = process.cpuUsage();
  const end = process.hrtime.bigint() + BigInt(Math.round(length * 1e9));
  let count = 0;
  while (process.hrtime.bigint() < end) {
    for (let i = 0; i < 20; i++) run();
    count += 20;
  }
  const used = process.cpuUsage(before);
  return (used.user + used.system) * 1000 / count;
}

for (const sample of ['invite', 'options']) {
  for (const [name, run] of Object.entries(operations(readFileSync(join(messages, `${sample}.sip`), 'utf8')))) {
    // The just-in-time compiler takes its time.
    round(run, Number(seconds) * 2);
    const rounds = Array.from({ length: 7 }, () => round(run, Number(seconds) / 7));
    console.log(name, sample, ...rounds.map((nanoseconds) => nanoseconds.toFixed(0)));
  }
}
