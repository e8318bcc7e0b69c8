// What a visitor reads.

import type { Locale } from '../help.js';

const EN = {
  launcher: 'Talk to us',
  heading: 'Voice assistant',
  greeting: 'Talk to us right here',
  greetingDetail: 'No phone needed: the call goes through your browser.',
  call: 'Start the call',
  callAgain: 'Call again',
  tryAgain: 'Try again',
  hangup: 'Hang up',
  accept: 'Answer',
  reject: 'Decline',
  close: 'Close',
  minimise: 'Minimise',
  done: 'Done',
  mute: 'Mute microphone',
  speaker: 'Mute sound',
  hold: 'Hold',
  keypad: 'Keypad',
  language: 'Language',
  you: 'You',
  farEnd: 'Them',
  asking: 'Allow the microphone',
  askingDetail: 'Your browser asks at the top of the page.',
  connecting: 'Connecting…',
  ringing: 'Ringing…',
  incoming: 'Incoming call',
  unknownCaller: 'Unknown caller',
  connected: 'You are connected',
  onHold: 'You are on hold',
  held: 'The call is on hold',
  ended: 'The call has ended',
  endedAfter: 'It lasted {time}.',
  failed: 'The call did not work',
  busy: 'The line is busy. Please try again in a moment.',
  notAnswered: 'Nobody answered. Please try again.',
  unavailable: 'The service is not available just now. Please try again later.',
  noConnection: 'No connection to the service. Check your internet connection and try again.',
  noSound: 'Sound could not be connected. Another network may help.',
  notSetUp: 'The call is not set up correctly. The site’s owner finds the reason in the browser’s console.',
  wrong: 'Something went wrong. Please try again.',
  consent: 'By calling you agree that the conversation may be recorded.',
  privacy: 'Privacy',
  stateReady: 'Ready to call',
  stateConnecting: 'Connecting…',
  stateOnline: 'Online',
  stateGood: 'Good connection',
  stateWeak: 'Weak connection',
  stateInterrupted: 'Connection interrupted…',
  stateReconnecting: 'Reconnecting…',
  stateOffline: 'You are offline',
  stateFailed: 'Not connected',
  inCall: 'Call, {time}',
};

/** The texts by name; each can be replaced through `labels`. */
export type Labels = typeof EN;

const RU: Labels = {
  launcher: 'Позвонить нам',
  heading: 'Голосовой помощник',
  greeting: 'Поговорите с нами прямо здесь',
  greetingDetail: 'Телефон не нужен: звонок идёт через браузер.',
  call: 'Начать разговор',
  callAgain: 'Позвонить ещё раз',
  tryAgain: 'Повторить',
  hangup: 'Завершить',
  accept: 'Ответить',
  reject: 'Отклонить',
  close: 'Закрыть',
  minimise: 'Свернуть',
  done: 'Готово',
  mute: 'Выключить микрофон',
  speaker: 'Выключить звук',
  hold: 'Удержание',
  keypad: 'Клавиши',
  language: 'Язык',
  you: 'Вы',
  farEnd: 'Собеседник',
  asking: 'Разрешите микрофон',
  askingDetail: 'Браузер спрашивает об этом вверху страницы.',
  connecting: 'Соединяем…',
  ringing: 'Вызываем…',
  incoming: 'Входящий звонок',
  unknownCaller: 'Неизвестный номер',
  connected: 'Вы на связи',
  onHold: 'Вас поставили на удержание',
  held: 'Разговор на удержании',
  ended: 'Разговор завершён',
  endedAfter: 'Он длился {time}.',
  failed: 'Позвонить не удалось',
  busy: 'Линия занята. Повторите чуть позже.',
  notAnswered: 'Никто не ответил. Попробуйте ещё раз.',
  unavailable: 'Сервис сейчас недоступен. Попробуйте позже.',
  noConnection: 'Нет связи с сервисом. Проверьте интернет и повторите.',
  noSound: 'Не удалось установить звук. Может помочь другая сеть.',
  notSetUp: 'Звонок настроен неверно. Владелец сайта найдёт причину в консоли браузера.',
  wrong: 'Что-то пошло не так. Попробуйте ещё раз.',
  consent: 'Начиная звонок, вы соглашаетесь с возможной записью разговора.',
  privacy: 'Конфиденциальность',
  stateReady: 'Готов к звонку',
  stateConnecting: 'Соединяем…',
  stateOnline: 'На связи',
  stateGood: 'Хорошая связь',
  stateWeak: 'Слабая связь',
  stateInterrupted: 'Связь прервалась…',
  stateReconnecting: 'Восстанавливаем связь…',
  stateOffline: 'Нет интернета',
  stateFailed: 'Нет соединения',
  inCall: 'Разговор, {time}',
};

export const TEXTS: Record<Locale, Labels> = { en: EN, ru: RU };

/** Names of languages in themselves. */
export const LANGUAGE_NAMES: Record<string, string> = { en: 'English', ru: 'Русский' };

/** Why a call did not work, by the error's code. */
export function reasonOf(code: string | undefined): keyof Labels {
  if (code === undefined) return 'wrong';
  if (code === 'call_busy' || code === 'call_declined') return 'busy';
  if (code === 'call_no_answer') return 'notAnswered';
  if (/^(call_|registration_|token_refused|token_invalid)/.test(code)) return 'unavailable';
  if (/^(connect|flow_|tls_|websocket_|name_|timeout|token_unreachable|wasm)/.test(code)) return 'noConnection';
  if (code.startsWith('media_')) return 'noSound';
  if (/^(configuration|customer_data|header_)/.test(code)) return 'notSetUp';
  return 'wrong';
}
