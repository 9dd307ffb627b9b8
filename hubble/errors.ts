// A request that cannot be answered because of what it says: a gRPC INVALID_ARGUMENT, a wrong flag on the command line.

export class RequestError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RequestError';
  }
}
