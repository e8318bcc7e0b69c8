// What a visitor can do about a microphone that cannot be used.

export type Locale = 'en' | 'ru';

export interface MicrophoneHelp {
  problem: string;
  remedy: string;
}

const HELP: Record<string, Record<Locale, [problem: string, remedy: string]>> = {
  microphone_denied: {
    en: ['The microphone is blocked', 'Click the icon to the left of the address, allow the microphone for this site, then try again.'],
    ru: ['Доступ к микрофону запрещён', 'Нажмите на значок слева от адреса страницы, разрешите микрофон для этого сайта и повторите.'],
  },
  microphone_policy: {
    en: ['This page may not use the microphone', 'Open the site in a tab of its own. For the site’s owner: Permissions-Policy, or allow="microphone" of the frame.'],
    ru: ['Этой странице нельзя использовать микрофон', 'Откройте сайт в отдельной вкладке. Владельцу сайта: Permissions-Policy или allow="microphone" у фрейма.'],
  },
  microphone_system: {
    en: ['The browser may not use the microphone', 'Allow the microphone for this browser in your system’s privacy settings, then try again.'],
    ru: ['Браузеру нельзя использовать микрофон', 'Разрешите браузеру микрофон в настройках конфиденциальности системы и повторите.'],
  },
  microphone_none: {
    en: ['No microphone was found', 'Connect a microphone or a headset, then try again.'],
    ru: ['Микрофон не найден', 'Подключите микрофон или гарнитуру и повторите.'],
  },
  microphone_in_use: {
    en: ['The microphone is busy', 'Close other programs and tabs that use it, or connect it anew, then try again.'],
    ru: ['Микрофон занят', 'Закройте другие программы и вкладки с микрофоном или подключите его заново и повторите.'],
  },
  microphone_insecure: {
    en: ['The page is not secure', 'Open it with https:// at the beginning of the address: browsers give the microphone to such pages only.'],
    ru: ['Страница открыта небезопасно', 'Откройте её по адресу с https:// — только таким страницам браузеры дают микрофон.'],
  },
  microphone: {
    en: ['The microphone cannot be used', 'Check that it works elsewhere, then try again.'],
    ru: ['Микрофон не удаётся использовать', 'Проверьте, работает ли он в других программах, и повторите.'],
  },
};

/** What is wrong with the microphone and what helps, for people; `undefined` if the code is of something else. */
export function microphoneHelp(code: string | undefined, locale: Locale = 'en'): MicrophoneHelp | undefined {
  const found = code === undefined ? undefined : HELP[code];
  if (!found) return undefined;
  const [problem, remedy] = found[locale];
  return { problem, remedy };
}
