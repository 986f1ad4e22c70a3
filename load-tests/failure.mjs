/** An error with a complete message for the user: printed as one line, without a stack. */
export class Failure extends Error {}
