// What Vega expects around it, and nothing that reaches out: no files, no network, no clock, no chance.
var window = globalThis, self = globalThis;
globalThis.console = { log() {}, info() {}, debug() {}, warn() {}, error() {} };
globalThis.setTimeout = (f) => { f(); return 0; };
globalThis.clearTimeout = () => {};
globalThis.performance = { now: () => 0 };
globalThis.structuredClone = (value) => JSON.parse(JSON.stringify(value));
globalThis.URL = globalThis.fetch = globalThis.require = globalThis.process = undefined;
Date.now = () => 0;
Math.random = () => 0.5;
