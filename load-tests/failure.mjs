/** An error whose message says all that a user needs: printed as one line, without a stack. */
export class Failure extends Error {}
