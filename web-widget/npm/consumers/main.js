// What a site's own script does with the package.
import * as codex from '@codex/web-widget';
import * as older from '@codex/core-sip';
import '@codex/web-widget/element';

Object.assign(window, { codex, older });
window.addEventListener('error', (event) => (document.title = `broken: ${event.message}`));
document.body.append(document.createElement('codex-voice-widget'));
