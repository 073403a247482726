"""A local server that behaves like the API, for trying, for tests and for CI.

An independent witness: it builds its own JSON and knows nothing of the client, so that a bug of one cannot
agree with itself in the other. It says what CometAPI's pages and own client, Replicate's recordings and the
gateway software (QuantumNous/new-api) say; where they differ, a comment names the one that was followed.

A prediction is one small file, and its state a pure function of that file and the time: any number of
processes may serve one folder. A word in the prompt asks for another end than success::

    sandbox:fail     failed, with a text like Replicate's E005
    sandbox:cancel   canceled, with null logs and output
    sandbox:abort    aborted: it never started
    sandbox:nsfw     one file fewer than asked; where that leaves none, failed, as Replicate's models do
    sandbox:empty    succeeded, with null output
    sandbox:text     succeeded, with a list of text tokens for output
"""
