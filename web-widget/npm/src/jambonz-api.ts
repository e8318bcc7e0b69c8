// Names of applications from jambonz' REST API, for pages that may hold an API key: those of your own staff.

import { CodexError } from './error.js';

/** How long an answer is kept, in milliseconds. */
const KEPT_MS = 300_000;
const GUID = /(?:^|app-)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

export interface JambonzApiConfig {
  /** Such as `https://api.example.com/v1`. */
  apiBaseUrl: string;
  /** Whoever sees the page sees it: never in a page for the public. */
  apiKey: string;
  accountSid: string;
}

export interface JambonzApplication {
  application_sid: string;
  name: string;
  [member: string]: unknown;
}

/**
 * jambonz' REST API. Its limit of 600 requests in 5 minutes is shared by the whole system, and its key opens the account:
 * for pages that only people you trust can open. Other pages get the name from their configuration.
 */
export class JambonzApiClient {
  readonly #config: JambonzApiConfig;
  #kept: { at: number; applications: Promise<JambonzApplication[]> } | undefined;

  constructor(config: JambonzApiConfig) {
    this.#config = { ...config, apiBaseUrl: config.apiBaseUrl.replace(/\/+$/, '') };
  }

  /** All applications of the account. */
  getApplications(useCache = true): Promise<JambonzApplication[]> {
    const now = performance.now();
    if (useCache && this.#kept && now - this.#kept.at < KEPT_MS) return this.#kept.applications;
    const applications = this.#get<JambonzApplication[]>(
      `/Accounts/${encodeURIComponent(this.#config.accountSid)}/Applications`,
    );
    const kept = { at: now, applications };
    this.#kept = kept;
    applications.catch(() => {
      if (this.#kept === kept) this.#kept = undefined;
    });
    return applications;
  }

  getApplication(sid: string): Promise<JambonzApplication> {
    return this.#get(`/Applications/${encodeURIComponent(sid)}`);
  }

  /** `undefined` if there is none with this GUID. */
  async getApplicationName(sid: string): Promise<string | undefined> {
    const wanted = sid.toLowerCase();
    return (await this.getApplications()).find((one) => one.application_sid.toLowerCase() === wanted)?.name;
  }

  /** `undefined` if the URI names no application, or one that is not there. */
  async getApplicationNameFromUri(uri: string): Promise<string | undefined> {
    const user = /^sips?:([^@;?]+)@/i.exec(uri.trim())?.[1];
    const sid = user === undefined ? undefined : GUID.exec(decodeURIComponent(user))?.[1];
    return sid === undefined ? undefined : this.getApplicationName(sid);
  }

  getCall(callSid: string): Promise<Record<string, unknown>> {
    return this.#get(
      `/Accounts/${encodeURIComponent(this.#config.accountSid)}/Calls/${encodeURIComponent(callSid)}`,
    );
  }

  getPhoneNumbers(): Promise<Record<string, unknown>[]> {
    return this.#get('/PhoneNumbers');
  }

  clearCache(): void {
    this.#kept = undefined;
  }

  async #get<T>(path: string): Promise<T> {
    const url = this.#config.apiBaseUrl + path;
    let response: Response;
    try {
      response = await fetch(url, {
        headers: { Authorization: `Bearer ${this.#config.apiKey}` },
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
      });
    } catch (error) {
      throw new CodexError('connect', `jambonz' API could not be reached at ${this.#config.apiBaseUrl}`, error);
    }
    if (!response.ok) throw new CodexError('jambonz_api', `jambonz' API answered ${response.status} to GET ${path}`);
    return (await response.json()) as T;
  }
}
