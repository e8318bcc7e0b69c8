export * from '@codex/web-widget';
