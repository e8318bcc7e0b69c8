// Short-lived SIP credentials from an address of the site, so that no lasting password stands in a page.

import { CodexError } from './error.js';

/** How long an answer is waited for, in milliseconds. */
const LIMIT_MS = 10_000;
/** How long before their end credentials count as used up, in milliseconds: a call is being placed, and clocks differ. */
const MARGIN_MS = 30_000;

/** What the address answers to a POST. */
export interface Credentials {
  username: string;
  password: string;
  /** When they end, in milliseconds since 1970. */
  until: number;
  applicationName?: string | undefined;
}

export class Tokens {
  readonly #url: string;
  #last: Credentials | undefined;
  #under: Promise<Credentials> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  /** Whether the last ones are still good; a visitor's clock that is wrong only has others fetched more often. */
  get fresh(): boolean {
    return this.renewInMs > 0;
  }

  /** When others should be fetched. */
  get renewInMs(): number {
    return (this.#last?.until ?? 0) - MARGIN_MS - Date.now();
  }

  /** Fetches others; who asks meanwhile gets the same. */
  fetch(): Promise<Credentials> {
    return (this.#under ??= this.#fetch().finally(() => (this.#under = undefined)));
  }

  async #fetch(): Promise<Credentials> {
    let response: Response;
    try {
      response = await fetch(this.#url, {
        method: 'POST',
        headers: { Accept: 'application/json' },
        cache: 'no-store',
        signal: AbortSignal.timeout(LIMIT_MS),
      });
    } catch (cause) {
      throw new CodexError('token_unreachable', `no credentials could be fetched from ${this.#url}: ${String(cause)}`, cause);
    }
    if (!response.ok) {
      throw new CodexError('token_refused', `${this.#url} answered ${response.status} instead of credentials`);
    }
    const wrong = (what: string): CodexError => new CodexError('token_invalid', `${this.#url} answered ${what}`);
    const given = (await response.json().catch(() => {
      throw wrong('what is no JSON');
    })) as Record<string, unknown> | null;
    const { username, password, expires, applicationName } = given ?? {};
    if (typeof username !== 'string' || typeof password !== 'string' || !username || !password) {
      throw wrong('without `username` or `password`');
    }
    const until = typeof expires === 'string' ? Date.parse(expires) : NaN;
    if (Number.isNaN(until)) throw wrong('without a time in `expires`, such as 2026-01-01T12:00:00Z');
    const name = typeof applicationName === 'string' && applicationName ? applicationName : undefined;
    return (this.#last = { username, password, until, applicationName: name });
  }
}
