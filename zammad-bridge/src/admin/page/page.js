
'use strict';
(() => {
const TEXTS = {
  en: {
    skip: 'Skip to the calls', language: 'Language', logout: 'Log out', login: 'Log in', loginTitle: 'Log in',
    token: 'Admin token', tokenHint: 'The value of BRIDGE_ADMIN_TOKEN in the bridge’s settings.',
    closedTitle: 'No admin token is set', closedText: 'Set BRIDGE_ADMIN_TOKEN in the bridge’s settings and start it again; then log in here with it.',
    wrongToken: 'This token is wrong.', tooMany: 'Too many wrong tokens. Wait a minute and try again.', noToken: 'Enter the token.',
    unreachable: 'The bridge does not answer.', themeAuto: 'Theme: as the system', themeLight: 'Theme: light', themeDark: 'Theme: dark',
    ready: 'Ready', notReady: 'Not ready', delayed: 'Ready, with delays', offline: 'No connection, trying again', connecting: 'Connecting',
    liveCalls: 'Live calls', receivedNow: 'Received', toldNow: 'Told to Zammad', perMinute: 'per minute', waiting: 'Waiting for Zammad',
    oldest: 'Longest waiting', deadLetters: 'Dead letters', throughput: 'Throughput, per minute', received: 'received',
    deliveredLegend: 'told to Zammad', backlog: 'Waiting for Zammad', pendingLegend: 'calls waiting', shelvedLegend: 'dead letters',
    calls: 'Calls', show: 'Show', all: 'All', live: 'Live', pendingFilter: 'Waiting', shelvedFilter: 'Dead letters', find: 'Tag or call id',
    lettersText: 'Zammad refused these for good. Try them again once the reason is gone, or give them up.',
    replayAll: 'Try all again', discardAll: 'Give all up…', replay: 'Try again', discard: 'Give up…', keep: 'Keep', giveUp: 'Give up for good',
    askTitle: 'Give up what Zammad refused?', askOne: 'Zammad will never be told of it. The call stays in the bridge’s own list.',
    askAll: 'Zammad will never be told of any of these. The calls stay in the bridge’s own list.',
    replayed: 'Tried again', discarded: 'Given up', time: 'Time', from: 'From', to: 'To, as the agent sees it', state: 'State', more: 'Older calls',
    metrics: 'Metrics', readiness: 'Readiness', notListed: 'The calls cannot be listed at the moment.', noCalls: 'No calls yet. Point an application’s hooks at the bridge, and they appear here.',
    noLive: 'Nobody is calling at the moment.', noPending: 'Zammad has been told everything.', noShelved: 'No dead letters.', noFound: 'No call of this name.',
    ringing: 'ringing', voicebot: 'voicebot', person: 'person', missed: 'missed', ended: 'ended',
    record: 'Record', course: 'Course', delivery: 'Zammad', names: 'Names',
    new_call: 'newCall', answer: 'answer', hangup: 'hangup', open_ticket: 'ticket', note_answered: 'note: answered', note_taken: 'note: taken', note_ended: 'note: ended',
    caller_log: 'Caller log', ticket: 'Ticket', delivered: 'told', pending: 'waiting', failing: 'being tried again', shelved: 'dead letter',
    lastFault: 'Last error', healed: 'Went wrong before', attempts: 'Tries in vain', nextTry: 'Next try', told: 'Told', ticketId: 'Ticket id', replied: 'Zammad answered', now: 'now',
    application: 'Application', direction: 'Direction', inbound: 'inbound', outbound: 'outbound', leg: 'dialled leg', call_hook: 'call hook', status_hook: 'status hook', reaper: 'closed by the bridge',
    newCallSaid: 'New call from', details: 'Details of the call from', lines: (a, b) => `${a} and ${b}`,
  },
  ru: {
    skip: 'К звонкам', language: 'Язык', logout: 'Выйти', login: 'Войти', loginTitle: 'Вход',
    token: 'Токен администратора', tokenHint: 'Значение BRIDGE_ADMIN_TOKEN из настроек моста.',
    closedTitle: 'Токен администратора не задан', closedText: 'Задайте BRIDGE_ADMIN_TOKEN в настройках моста, перезапустите его и войдите здесь с этим токеном.',
    wrongToken: 'Токен неверен.', tooMany: 'Слишком много неверных токенов. Подождите минуту.', noToken: 'Введите токен.',
    unreachable: 'Мост не отвечает.', themeAuto: 'Тема: как в системе', themeLight: 'Тема: светлая', themeDark: 'Тема: тёмная',
    ready: 'Работает', notReady: 'Не готов', delayed: 'Работает с задержкой', offline: 'Нет связи, пробуем снова', connecting: 'Соединение',
    liveCalls: 'Идут сейчас', receivedNow: 'Получено', toldNow: 'Передано в Zammad', perMinute: 'в минуту', waiting: 'Ждут Zammad',
    oldest: 'Ждёт дольше всех', deadLetters: 'Не принято', throughput: 'Поток, в минуту', received: 'получено',
    deliveredLegend: 'передано в Zammad', backlog: 'Ждут Zammad', pendingLegend: 'звонков ждёт', shelvedLegend: 'не принято',
    calls: 'Звонки', show: 'Показать', all: 'Все', live: 'Идут', pendingFilter: 'Ждут', shelvedFilter: 'Не принято', find: 'Тег или id звонка',
    lettersText: 'Zammad окончательно отказался это принять. Повторите, когда причина устранена, или откажитесь от отправки.',
    replayAll: 'Повторить всё', discardAll: 'Отказаться от всего…', replay: 'Повторить', discard: 'Отказаться…', keep: 'Оставить', giveUp: 'Отказаться насовсем',
    askTitle: 'Отказаться от отправки?', askOne: 'Zammad об этом никогда не узнает. Звонок останется в списке моста.',
    askAll: 'Zammad ни об одном из них никогда не узнает. Звонки останутся в списке моста.',
    replayed: 'Отправлено повторно', discarded: 'Отправка отменена', time: 'Время', from: 'От кого', to: 'Кому, как видит оператор', state: 'Состояние', more: 'Более ранние',
    metrics: 'Метрики', readiness: 'Готовность', notListed: 'Сейчас список звонков недоступен.', noCalls: 'Звонков ещё не было. Направьте хуки приложения на мост, и они появятся здесь.',
    noLive: 'Сейчас никто не звонит.', noPending: 'Zammad знает обо всём.', noShelved: 'Непринятых нет.', noFound: 'Такого звонка нет.',
    ringing: 'вызов', voicebot: 'голосовой бот', person: 'оператор', missed: 'пропущен', ended: 'завершён',
    record: 'Запись', course: 'Ход звонка', delivery: 'Zammad', names: 'Имена',
    new_call: 'newCall', answer: 'answer', hangup: 'hangup', open_ticket: 'заявка', note_answered: 'заметка: ответ', note_taken: 'заметка: принят', note_ended: 'заметка: конец',
    caller_log: 'Журнал звонков', ticket: 'Заявка', delivered: 'передано', pending: 'ждёт', failing: 'повторяется', shelved: 'не принято',
    lastFault: 'Последняя ошибка', healed: 'Раньше не получалось', attempts: 'Неудачных попыток', nextTry: 'Следующая попытка', told: 'Передано', ticketId: 'Номер заявки', replied: 'Ответ Zammad', now: 'сейчас',
    application: 'Приложение', direction: 'Направление', inbound: 'входящий', outbound: 'исходящий', leg: 'набранный участник', call_hook: 'call hook', status_hook: 'status hook', reaper: 'закрыт мостом',
    newCallSaid: 'Новый звонок от', details: 'Подробности звонка от', lines: (a, b) => `${a} и ${b}`,
  },
};
const FILTERS = {all: '', live: 'open=true', pendingFilter: 'pending=true', shelvedFilter: 'shelved=true'};
const PAGE = 30, MOST = 300, RETRY_MS = 3000, WINDOW_MS = 3600e3, LEAST_WINDOW_MS = 300e3, BUCKETS = 72;
const $ = id => document.getElementById(id);
const stored = key => { try { return localStorage.getItem(key); } catch { return null; } };
const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } };

let lang = stored('lang') || (navigator.languages.some(l => l.startsWith('ru')) ? 'ru' : 'en');
let theme = stored('theme') || 'auto';
let filter = 'all', name = '', csrf = null, stream = null, retry = 0, connection = 'wait', asked = 0, unlisted = false;
let samples = [], health = null, next = null;
const calls = new Map(), open = new Set();
const t = key => TEXTS[lang][key] ?? key;

/** An element with attributes, listeners (`on…`) and children; texts become text nodes, never markup. */
function h(tag, attributes = {}, ...children) {
  const svg = ['svg', 'path', 'line', 'text', 'circle', 'g', 'title'].includes(tag);
  const element = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return element;
}
const number = value => new Intl.NumberFormat(lang, value >= 10000 ? {notation: 'compact', maximumFractionDigits: 1} : {maximumFractionDigits: value < 10 && value % 1 ? 1 : 0}).format(value);
const clock = at => new Intl.DateTimeFormat(lang, {hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'}).format(at);
const minutes = at => new Intl.DateTimeFormat(lang, {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}).format(at);
const day = at => new Intl.DateTimeFormat(lang, {day: 'numeric', month: 'short'}).format(at);
const isToday = at => new Date(at).toDateString() === new Date().toDateString();
const when = at => isToday(at) ? clock(at) : `${day(at)}, ${minutes(at)}`;
function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = n => String(n).padStart(2, '0');
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
function say(text) { $('said').textContent = ''; requestAnimationFrame(() => { $('said').textContent = text; }); }

async function ask(path, options = {}) {
  const headers = {...options.headers};
  if (options.body) { headers['Content-Type'] = 'application/json'; headers['X-CSRF-Token'] = csrf ?? ''; }
  const answer = await fetch(path, {...options, headers});
  if (answer.status === 401 && path !== '/admin/login') { showGate(); throw new Error('login'); }
  return answer;
}
const post = (path, body) => ask(path, {method: 'POST', body: JSON.stringify(body)});

/* Language and theme */
function speak() {
  document.documentElement.lang = lang;
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', t(element.dataset.label));
  for (const element of document.querySelectorAll('[data-placeholder]')) element.placeholder = t(element.dataset.placeholder);
  for (const button of document.querySelectorAll('button[data-lang]')) button.setAttribute('aria-pressed', String(button.dataset.lang === lang));
  drawTheme(); drawHealth(); drawFigures(); drawFilters(); drawCalls();
}
const THEME_ICONS = {
  auto: 'M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18',
  light: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5',
  dark: 'M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z',
};
function drawTheme() {
  if (theme === 'auto') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
  const label = t({auto: 'themeAuto', light: 'themeLight', dark: 'themeDark'}[theme]);
  $('theme').setAttribute('aria-label', label); $('theme').title = label;
  $('theme').replaceChildren(h('svg', {viewBox: '0 0 24 24', 'aria-hidden': 'true'}, h('path', {d: THEME_ICONS[theme]})));
}
for (const button of document.querySelectorAll('button[data-lang]')) {
  button.addEventListener('click', () => { lang = button.dataset.lang; store('lang', lang); speak(); });
}
$('theme').addEventListener('click', () => {
  theme = {auto: 'light', light: 'dark', dark: 'auto'}[theme]; store('theme', theme); drawTheme();
});

/* Health */
function drawHealth() {
  let state = 'wait', text = t('connecting');
  if (connection === 'lost') [state, text] = ['bad', t('offline')];
  else if (health) [state, text] = !health.ready ? ['bad', t('notReady')] : health.warnings.length ? ['warn', t('delayed')] : ['good', t('ready')];
  $('health').dataset.state = state;
  if ($('health-text').textContent !== text) $('health-text').textContent = text;
  const told = health ? [...health.reasons.map(r => ['fault', r]), ...health.warnings.map(r => ['warning', r])] : [];
  const lines = told.map(([kind, reason]) => h('p', {class: kind}, reason[lang] ?? reason.en));
  const texts = lines.map(line => line.textContent).join('\n');
  if ($('reasons').dataset.texts !== texts) { $('reasons').dataset.texts = texts; $('reasons').replaceChildren(...lines); }
}

/* Figures */
function rateNow(key) {
  const last = samples.at(-1), first = samples.findLast(s => last && last.at - s.at >= 55e3) ?? samples[0];
  if (!last || !first || last.at <= first.at) return 0;
  return Math.max(0, last[key] - first[key]) / Math.max(60e3, last.at - first.at) * 60e3;
}
function drawFigures() {
  const last = samples.at(-1) ?? {open: 0, pending: 0, shelved: 0, oldest_due_ms: 0};
  const late = last.pending > 0 && last.oldest_due_ms > 60e3;
  const tiles = [
    ['liveCalls', number(last.open)], ['receivedNow', number(rateNow('received')), t('perMinute')],
    ['toldNow', number(rateNow('delivered')), t('perMinute')], ['waiting', number(last.pending), '', late && 'notice'],
    ['oldest', last.pending ? span(last.oldest_due_ms) : '–', '', late && 'notice'], ['deadLetters', number(last.shelved), '', last.shelved > 0 && 'alarm'],
  ];
  $('tiles').replaceChildren(...tiles.map(([label, value, unit, kind]) =>
    h('div', {class: `card tile ${kind || ''}`}, h('dt', {}, t(label)), h('dd', {}, value, unit ? h('small', {}, unit) : null))));
  const counts = {pendingFilter: last.pending, shelvedFilter: last.shelved, live: last.open};
  for (const button of $('filters').children) {
    const count = button.querySelector('.count');
    if (count) count.textContent = counts[button.dataset.filter] ? number(counts[button.dataset.filter]) : '';
  }
  drawCharts();
}
/** The samples of the window in equal buckets: rates per minute of the counters, the last value of the rest. */
function buckets() {
  const last = samples.at(-1);
  if (!last) return [];
  const window = Math.min(WINDOW_MS, Math.max(LEAST_WINDOW_MS, last.at - samples[0].at));
  const size = window / BUCKETS, start = last.at - window, list = [];
  let at = 0, before = null;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const end = start + (bucket + 1) * size;
    let newest = before;
    while (at < samples.length && samples[at].at <= end + 1) newest = samples[at++];
    if (newest && before && newest !== before) {
      const per = 60e3 / (newest.at - before.at);
      list.push({at: end, received: (newest.received - before.received) * per, delivered: (newest.delivered - before.delivered) * per, pending: newest.pending, shelved: newest.shelved});
    } else if (before && at < samples.length) {
      const held = list.at(-1);
      if (held) list.push({...held, at: end});
    }
    before = newest ?? before;
  }
  return list.map(b => ({...b, x: (b.at - start) / window, start, window}));
}
const chosen = {throughput: null, backlog: null};
function drawCharts() {
  const list = buckets();
  drawChart('throughput', list, 'received', 'delivered', false);
  drawChart('backlog', list, 'pending', 'shelved', true);
}
function drawChart(id, list, first, second, alarm) {
  const box = $(id), width = Math.max(280, box.clientWidth || 560), height = 176;
  const left = 38, right = 8, top = 10, bottom = 22;
  const peak = Math.max(1, ...list.map(b => Math.max(b[first], b[second])));
  const step = [1, 2, 5].map(n => n * 10 ** Math.floor(Math.log10(peak / 2 || 1))).find(n => peak / n <= 4) ?? 10 ** Math.ceil(Math.log10(peak / 2));
  const unit = Math.max(1, step), most = Math.ceil(peak / unit) * unit;
  const x = b => left + b.x * (width - left - right), y = value => height - bottom - value / most * (height - top - bottom);
  const parts = [];
  for (let value = 0; value <= most + unit / 2; value += unit) {
    parts.push(h('line', {class: 'grid', x1: left, x2: width - right, y1: y(value), y2: y(value)}),
      h('text', {class: 'tick', x: left - 6, y: y(value) + 4, 'text-anchor': 'end'}, number(value)));
  }
  const line = key => list.map((b, at) => `${at ? 'L' : 'M'}${x(b).toFixed(1)} ${y(b[key]).toFixed(1)}`).join('');
  if (list.length) {
    const {start, window} = list[0];
    for (const part of [0.02, 0.5, 0.98]) {
      parts.push(h('text', {class: 'tick', x: left + part * (width - left - right), y: height - 5, 'text-anchor': part < 0.1 ? 'start' : part > 0.9 ? 'end' : 'middle'}, part > 0.9 ? t('now') : minutes(start + part * window)));
    }
    parts.push(h('path', {class: 'area', d: `${line(first)}L${x(list.at(-1)).toFixed(1)} ${y(0)}L${x(list[0]).toFixed(1)} ${y(0)}Z`}),
      h('path', {class: 'first', d: line(first)}), h('path', {class: `second ${alarm ? 'alarm' : ''}`, d: line(second)}));
    const at = chosen[id] === null ? null : Math.min(list.length - 1, Math.max(0, chosen[id]));
    if (at !== null) {
      const b = list[at];
      parts.push(h('line', {class: 'cursor', x1: x(b), x2: x(b), y1: top, y2: height - bottom}),
        h('circle', {class: 'first-dot', cx: x(b), cy: y(b[first]), r: 4}), h('circle', {class: `second-dot ${alarm ? 'alarm' : ''}`, cx: x(b), cy: y(b[second]), r: 4}),
        h('text', {class: 'note', x: x(b) > width * 0.6 ? x(b) - 8 : x(b) + 8, y: top + 10, 'text-anchor': x(b) > width * 0.6 ? 'end' : 'start'},
          `${minutes(b.at)}  ${number(b[first])} ${t(first === 'received' ? 'received' : 'pendingLegend')}, ${number(b[second])} ${t(alarm ? 'shelvedLegend' : 'deliveredLegend')}`));
    }
  }
  const b = list[chosen[id] ?? list.length - 1] ?? {[first]: 0, [second]: 0};
  box.setAttribute('aria-label', `${t(id)}: ${t('lines')(`${number(b[first])} ${t(first === 'received' ? 'received' : 'pendingLegend')}`, `${number(b[second])} ${t(alarm ? 'shelvedLegend' : 'deliveredLegend')}`)}${b.at ? `, ${minutes(b.at)}` : ''}`);
  box.replaceChildren(h('svg', {viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true'}, ...parts));
}
for (const id of ['throughput', 'backlog']) {
  $(id).addEventListener('pointermove', event => {
    const box = $(id).getBoundingClientRect(), list = buckets(), part = (event.clientX - box.left - 38) / (box.width - 46);
    if (!list.length) return;
    chosen[id] = list.reduce((best, b, at) => Math.abs(b.x - part) < Math.abs(list[best].x - part) ? at : best, 0);
    drawCharts();
  });
  const leave = () => { chosen[id] = null; drawCharts(); };
  $(id).addEventListener('pointerleave', leave);
  $(id).addEventListener('blur', leave);
  $(id).addEventListener('keydown', event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key], list = buckets();
    if (!move || !list.length) return;
    event.preventDefault();
    chosen[id] = Math.min(list.length - 1, Math.max(0, (chosen[id] ?? list.length - 1) + move));
    drawCharts();
    say($(id).getAttribute('aria-label'));
  });
}
new ResizeObserver(drawCharts).observe($('throughput'));
function addSample(sample) {
  const last = samples.at(-1), before = samples.at(-2);
  if (last && before && sample.at - before.at < 5000) samples[samples.length - 1] = sample; else samples.push(sample);
  while (samples.length && sample.at - samples[0].at > WINDOW_MS) samples.shift();
  drawFigures();
}

/* Calls */
function drawFilters() {
  $('filters').replaceChildren(...Object.keys(FILTERS).map(key => h('button', {type: 'button', 'data-filter': key, 'aria-pressed': String(filter === key),
    onclick: () => { filter = key; drawFilters(); drawFigures(); load(); }}, t(key), h('span', {class: `count ${key === 'shelvedFilter' ? 'alarm' : ''}`}))));
  $('all-letters').hidden = filter !== 'shelvedFilter' || !calls.size;
}
const isPending = call => call.lanes.some(lane => lane.steps.some(step => step.state === 'pending'));
const isShelved = call => call.lanes.some(lane => lane.steps.some(step => step.state === 'shelved'));
const fits = call => ({all: true, live: call.state !== 'ended', pendingFilter: isPending(call), shelvedFilter: isShelved(call)})[filter]
  && (!name || [call.tag, call.call.call_sid, call.call.sip_call_id].includes(name));
function stateOf(call) {
  const {call: record} = call, answered = record.person_answered_at ?? record.answered_at;
  if (call.state === 'ringing') return ['ringing', t('ringing'), record.started_at];
  if (call.state === 'answered') return [call.answered_by, t(call.answered_by), answered];
  if (call.missed) return ['missed', t('missed')];
  const length = record.end?.duration_s !== undefined ? record.end.duration_s * 1000 : record.end && answered ? record.end.at - answered : null;
  return ['ended', length === null ? t('ended') : `${t('ended')} · ${span(length)}`];
}
function stepChips(call) {
  return call.lanes.flatMap(lane => {
    const first = lane.steps.find(step => step.state === 'pending');
    return lane.steps.map(step => {
      const state = step === first && lane.attempts > 0 ? 'failing' : step.state;
      const sign = {delivered: '✓', pending: '…', failing: '↻', shelved: '✕'}[state];
      return h('span', {class: `step ${state}`, title: `${t(step.step)}: ${t(state)}`}, h('span', {'aria-hidden': 'true'}, `${sign} `), t(step.step), h('span', {class: 'hidden'}, `: ${t(state)}`));
    });
  });
}
function laneDetails(call, lane) {
  const shelved = lane.steps.some(step => step.state === 'shelved'), waits = lane.steps.some(step => step.state === 'pending');
  const facts = [];
  if (lane.delivered_at) facts.push([t('told'), when(lane.delivered_at)]);
  if (lane.ticket !== undefined) facts.push([t('ticketId'), String(lane.ticket)]);
  if (lane.answer) facts.push([t('replied'), lane.answer]);
  if (lane.attempts) facts.push([t('attempts'), number(lane.attempts)]);
  if (waits && lane.due_at) facts.push([t('nextTry'), lane.due_at <= Date.now() ? t('now') : when(lane.due_at)]);
  return h('div', {class: 'lane'}, h('h3', {}, `${t(lane.channel)} · ${lane.zammad}`), h('dl', {}, facts.map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)])),
    lane.last_fault ? h('p', {class: shelved || waits ? 'fault' : 'healed'}, `${t(shelved || waits ? 'lastFault' : 'healed')}: ${lane.last_fault}`) : null,
    shelved ? h('div', {class: 'buttons'}, h('button', {type: 'button', class: 'primary', onclick: () => act('replay', {call: call.id, channel: lane.channel})}, t('replay')),
      h('button', {type: 'button', class: 'danger', onclick: () => confirmDiscard({call: call.id, channel: lane.channel}, t('askOne'))}, t('discard'))) : null);
}
function details(call) {
  const record = call.call;
  const names = [[t('application'), record.application_name], [t('direction'), record.direction && t(record.direction)], ['tag', call.tag], ['SIP Call-ID', record.sip_call_id], ['call_sid', record.call_sid], ['trace_id', record.trace_id]];
  const course = (record.timeline ?? []).map(entry => h('li', {}, h('time', {}, clock(entry.at)), h('span', {}, [entry.status, entry.leg ? `(${t('leg')})` : entry.status ? null : t(entry.source), entry.source === 'reaper' ? t('reaper') : null].filter(Boolean).join(' '))));
  return h('div', {class: 'details', role: 'cell', id: `details-${call.id}`},
    h('div', {}, h('h3', {}, t('record')), h('p', {class: 'record'}, call.shown.record.join('\n') || '–')),
    h('div', {}, call.lanes.map(lane => laneDetails(call, lane))),
    h('div', {}, h('h3', {}, t('course')), h('ul', {class: 'timeline'}, course)),
    h('div', {}, h('h3', {}, t('names')), h('dl', {}, names.filter(([, v]) => v).map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]))));
}
function rowOf(call, fresh) {
  const isOpen = open.has(call.id), [kind, text, since] = stateOf(call);
  const toggle = () => { if (open.has(call.id)) open.delete(call.id); else open.add(call.id); redraw(call.id); };
  const opener = h('button', {type: 'button', class: 'open-call', 'aria-expanded': String(isOpen), 'aria-controls': isOpen ? `details-${call.id}` : null, 'aria-label': `${when(call.call.started_at)}. ${t('details')} ${call.shown.from}`},
    h('svg', {viewBox: '0 0 10 10', 'aria-hidden': 'true'}, h('path', {d: 'M3 1l4 4-4 4'})), when(call.call.started_at));
  const row = h('div', {role: 'row', class: 'row', onclick: event => { if (!getSelection().toString() || event.target.closest('.open-call')) toggle(); }},
    h('span', {role: 'cell'}, opener), h('span', {role: 'cell', class: 'from'}, call.shown.from), h('span', {role: 'cell', class: 'to'}, call.shown.to),
    h('span', {role: 'cell'}, h('span', {class: `badge ${kind}`}, text, since ? h('span', {'data-since': since}, ` ${span(Date.now() - since)}`) : null)),
    h('span', {role: 'cell', class: 'steps'}, stepChips(call)));
  return h('div', {class: `call ${fresh ? 'fresh' : ''}`, id: `call-${call.id}`, role: 'presentation'}, row, isOpen ? h('div', {role: 'row'}, details(call)) : null);
}
function redraw(id, fresh) {
  const old = $(`call-${id}`), call = calls.get(id);
  if (!call || !old) return drawCalls();
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll('button')].indexOf(document.activeElement) : -1;
  const made = rowOf(call, fresh);
  old.replaceWith(made);
  if (focused >= 0) (made.querySelectorAll('button')[focused] ?? made.querySelector('button'))?.focus();
}
function drawCalls() {
  const list = [...calls.values()].sort((a, b) => b.id - a.id), active = document.activeElement?.closest?.('.call')?.id;
  $('rows').replaceChildren(...list.map(call => rowOf(call)));
  if (active) $(active)?.querySelector('button')?.focus();
  $('none').hidden = list.length > 0;
  $('none').textContent = unlisted ? t('notListed') : name ? t('noFound') : t({all: 'noCalls', live: 'noLive', pendingFilter: 'noPending', shelvedFilter: 'noShelved'}[filter]);
  $('more').hidden = next === null;
  $('all-letters').hidden = filter !== 'shelvedFilter' || !list.length;
}
async function load(older = false) {
  const mine = ++asked;
  const query = [FILTERS[filter], `limit=${PAGE}`, name && `name=${encodeURIComponent(name)}`, older && next !== null && `before=${next}`].filter(Boolean).join('&');
  try {
    const answer = await ask(`/v1/calls?${query}`);
    if (mine !== asked) return;
    unlisted = !answer.ok;
    if (unlisted) { drawCalls(); return; }
    const page = await answer.json();
    if (mine !== asked) return;
    if (!older) calls.clear();
    for (const call of page.calls) calls.set(call.id, call);
    next = page.next_before ?? null;
    drawCalls();
  } catch { /* told by the state of the connection */ }
}
function changed(call) {
  const known = calls.has(call.id);
  if (!fits(call)) { if (known) { calls.delete(call.id); $(`call-${call.id}`)?.remove(); if (!calls.size) drawCalls(); } return; }
  const newest = Math.max(0, ...calls.keys());
  if (!known && next !== null && call.id < next) return;
  calls.set(call.id, call);
  if (known) return redraw(call.id, true);
  if (calls.size > MOST) { const oldest = Math.min(...calls.keys()); calls.delete(oldest); $(`call-${oldest}`)?.remove(); next = Math.min(...calls.keys()); $('more').hidden = false; }
  if (call.id > newest) { $('rows').prepend(rowOf(call, true)); $('none').hidden = true; say(`${t('newCallSaid')} ${call.shown.from}`); } else drawCalls();
}
async function act(what, body) {
  try {
    const answer = await post(`/admin/${what}`, body);
    const told = await answer.json();
    say(answer.ok ? t(what === 'replay' ? 'replayed' : 'discarded') : told.error);
    if (body.all) load();
  } catch { say(t('unreachable')); }
}
let confirmed = null;
function confirmDiscard(body, text) {
  $('ask-title').textContent = t('askTitle'); $('ask-text').textContent = text; $('ask-yes').textContent = t('giveUp');
  confirmed = body; $('ask').showModal(); $('ask-no').focus();
}
$('ask-no').addEventListener('click', () => $('ask').close());
$('ask-yes').addEventListener('click', () => { $('ask').close(); act('discard', confirmed); });
$('replay-all').addEventListener('click', () => act('replay', {all: true}));
$('discard-all').addEventListener('click', () => confirmDiscard({all: true}, t('askAll')));
$('more').addEventListener('click', () => load(true));
let typing = 0;
$('name').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(() => { name = $('name').value.trim(); load(); }, 250); });
$('find').addEventListener('submit', event => { event.preventDefault(); name = $('name').value.trim(); load(); });
setInterval(() => {
  for (const element of document.querySelectorAll('[data-since]')) element.textContent = ` ${span(Date.now() - Number(element.dataset.since))}`;
}, 1000);

/* Session and stream */
function showGate() {
  stream?.close(); stream = null; csrf = null; health = null; clearTimeout(retry);
  $('main').hidden = true; $('logout').hidden = true; $('closed').hidden = true; $('gate').hidden = false; $('health').hidden = true;
  $('reasons').replaceChildren(); delete $('reasons').dataset.texts;
  $('token').focus();
}
async function enter() {
  $('gate').hidden = true; $('closed').hidden = true; $('main').hidden = false; $('logout').hidden = false; $('health').hidden = false;
  connect();
}
function connect() {
  clearTimeout(retry);
  stream?.close();
  stream = new EventSource('/admin/events');
  stream.addEventListener('open', async () => {
    connection = 'good'; drawHealth(); load();
    try { const answer = await ask('/admin/history'); if (answer.ok) { samples = await answer.json(); drawFigures(); } } catch { /* the next opening asks again */ }
  });
  stream.addEventListener('error', () => {
    connection = 'lost'; drawHealth();
    // A stream that was refused is closed for good: somebody has to log in, or the bridge is going down.
    if (stream.readyState === EventSource.CLOSED) retry = setTimeout(begin, RETRY_MS);
  });
  stream.addEventListener('figures', event => addSample(JSON.parse(event.data)));
  stream.addEventListener('health', event => { health = JSON.parse(event.data); drawHealth(); });
  stream.addEventListener('call', event => changed(JSON.parse(event.data)));
  stream.addEventListener('gone', event => { const id = JSON.parse(event.data); calls.delete(id); $(`call-${id}`)?.remove(); if (!calls.size) drawCalls(); });
  stream.addEventListener('reload', () => load());
}
$('login').addEventListener('submit', async event => {
  event.preventDefault();
  const token = $('token').value;
  $('login-error').textContent = '';
  if (!token) { $('login-error').textContent = t('noToken'); $('token').focus(); return; }
  try {
    const answer = await post('/admin/login', {token});
    if (answer.ok) { csrf = (await answer.json()).csrf; $('token').value = ''; await enter(); $('main').focus(); return; }
    $('login-error').textContent = t(answer.status === 429 ? 'tooMany' : 'wrongToken');
  } catch { $('login-error').textContent = t('unreachable'); }
  $('token').select();
});
$('logout').addEventListener('click', async () => { try { await fetch('/admin/logout', {method: 'POST'}); } finally { calls.clear(); samples = []; showGate(); } });
async function begin() {
  try {
    const session = await (await fetch('/admin/session')).json();
    $('version').textContent = session.version;
    csrf = session.csrf;
    if (!session.open) { $('closed').hidden = false; $('health').hidden = true; } else if (session.logged_in) await enter(); else showGate();
  } catch { connection = 'lost'; drawHealth(); retry = setTimeout(begin, RETRY_MS); }
}
speak();
begin();
})();
