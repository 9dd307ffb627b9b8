// Envoy's admin socket, which only root and Envoy's user can open: how many connections it has, and that it should let go of them.
import http from 'node:http';

const timeoutMs = 2_000;
const mostBytes = 64 * 1024;

/** Throws Error when nobody answers in time, or not with 200. */
async function ask(socketPath: string, method: 'GET' | 'POST', path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method, path, agent: false, timeout: timeoutMs, headers: { host: 'admin' } }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => { if (body.length < mostBytes) body += chunk.toString(); }).on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`${method} ${path}: ${response.statusCode}: ${body.trim()}`));
      });
    });
    request.on('timeout', () => { request.destroy(new Error(`${method} ${path}: no answer in ${timeoutMs} ms`)); }).on('error', reject).end();
  });
}

/** Each connection is told with its next answer that it ends: `connection: close`, GOAWAY. Those that come meanwhile are served as ever. */
export const drain = async (socketPath: string): Promise<void> => { await ask(socketPath, 'POST', '/drain_listeners?graceful&skip_exit'); };

/** As they were when it was asked before. */
export async function connectionsOf(socketPath: string): Promise<number> {
  const text = await ask(socketPath, 'GET', '/stats?filter=^server.total_connections$');
  return Number(/: (\d+)/.exec(text)?.[1] ?? NaN);
}
