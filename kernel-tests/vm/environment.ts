// jest's environment in an emulated machine: what a test or a hook names as its limit of time is not for a machine ten times slower.
import { TestEnvironment } from 'jest-environment-node';

const timeoutMs = 900_000;

interface Timed { timeout?: number | null }
type Event = { readonly name: 'hook_start'; readonly hook: Timed } | { readonly name: 'test_fn_start'; readonly test: Timed } | { readonly name: '' };

export default class Emulated extends TestEnvironment {
  handleTestEvent(event: Event): void {
    if (event.name === 'hook_start') event.hook.timeout = timeoutMs;
    if (event.name === 'test_fn_start') event.test.timeout = timeoutMs;
  }
}
