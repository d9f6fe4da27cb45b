# Words of the pages. Every key stands in every language; a test compares them.

other-language = Français
other-language-hint = Afficher cette page en français

site-name = Scribe
page-title = Scribe — chat
skip-to-prompt = Skip to the message box
conversation = Conversation
welcome = What would you like to know?
welcome-hint = You are talking to { $model }. What you write goes to this server and nowhere else.

example-capital = What is the capital of France?
example-sky = Why is the sky blue? Explain it to a child.
example-poem = Write a short poem about the sea.
example-list = Give me three ideas for a rainy Sunday.

you = You
assistant = Scribe
prompt-label = Your message
prompt-placeholder = Ask anything
send = Send
stop = Stop the answer
answering = Scribe is answering…
answer-ended = End of the answer.
answer-stopped = Stopped.
may-be-wrong = The model may be wrong. Check what matters.
scroll-down = Go to the newest message

new-chat = New chat
copy = Copy
copied = Copied
copy-answer = Copy the answer
copy-code = Copy the code
regenerate = Write another answer
edit = Change this message
try-again = Try again
cancel = Cancel
close = Close

settings = Settings
system-prompt = System prompt
system-prompt-hint = Instructions that the model reads before your first message.
temperature = Temperature
temperature-hint = 0 always picks the likeliest word; higher values are more varied.
max-tokens = Longest answer, in tokens
max-tokens-hint = Empty: until the model ends by itself.
whole-answers = Show answers only when they are complete
whole-answers-hint = Calmer, and easier with a screen reader.
reset = Use the defaults
theme = Appearance
theme-system = As the system
theme-light = Light
theme-dark = Dark
shortcuts = Keyboard
shortcut-send = send the message
shortcut-newline = begin a new line
shortcut-stop = stop the answer
shortcut-edit = change the last message (in an empty box)
shortcut-new = new chat
settings-kept = Settings stay in this browser.

key-title = This server asks for a key
key-hint = It was set when the server was started. It stays in this tab only.
key-label = API key
key-wrong = This key was not accepted. Check it and enter it again.
key-continue = Continue

link-title = Open this link?
link-hint = Its address carries more than a page’s name, so look at it first.
link-open = Open

figures = { $tokens ->
    [one] { $tokens } token
   *[other] { $tokens } tokens
  } · { $speed } tokens/s
figures-title = { $prompt ->
    [one] { $prompt } token read
   *[other] { $prompt } tokens read
  }, { $cached } of them remembered from before; { $tokens } written in { $seconds } s
dropped = { $dropped ->
    [one] The oldest message no longer fits and was not sent to the model.
   *[other] The { $dropped } oldest messages no longer fit and were not sent to the model.
  }
length-reached = The answer ends here because it reached the longest length allowed.

error-network = The server cannot be reached. Check that it is running, then try again.
error-broken-off = The connection broke before the answer was complete. Try again.
error-queue-full = The server is busy. Try again in { $seconds ->
    [one] a second
   *[other] { $seconds } seconds
  }.
error-shutting-down = The server is about to stop. Try again in a moment.
error-too-long = This message needs { $prompt } tokens, but the model can read { $context } with room for an answer. Shorten it.
error-engine = The model failed on this request. Try again.
error-engine-gone = The model has failed and could not be started again. Whoever runs this server must restart it.
error-empty = Write a message first.
error-invalid = The server did not understand the request: { $message }
error-conversation-too-long = This conversation is too long to send. Start a new chat.
error-key = This server asks for a key. Enter it and send the message again.
error-unknown = Something went wrong. Try again.

not-found-title = There is no such page
not-found = Nothing lives at this address. The chat does.
loading-title = One moment
loading = The model is being loaded. This page opens the chat by itself as soon as it is there.
error-title = This did not work
back-to-chat = Go to the chat
no-javascript = JavaScript is off: answers appear when they are complete.

label-title = Rank answers
label-skip-to = Skip to the prompt and its answers
label-intro = You see a prompt and answers to it, shuffled, and not where they came from. Put the best one first.
label-name = Your name
label-name-hint = It is kept with what you say, so that agreement can be measured.
label-begin = Begin
label-change-name = Somebody else
label-resend = Send again
label-guidelines = What to look at
label-guideline-question = Which answer would you rather have been given?
label-guideline-harm = Harm: what could hurt somebody is worst.
label-guideline-truth = Truth: what misleads or is made up is worse than what admits not to know.
label-guideline-help = Help: it does what was asked, all of it and no more, clearly and briefly.
label-guideline-ties = Where two are equally good, tie them. Where you cannot judge, skip. Length, order and style decide nothing by themselves.
label-again = You answered this before; what you say now takes its place.
label-prompt = Prompt
label-answers = Answers
label-answer = Answer %1
label-order-name = Your order, best first
label-order = Order: %1.
label-then = %1, then %2
label-tied = %1 tied
label-off = Without a place: %1.
label-place = place %1
label-next-best = Next best
label-better = This one is better
label-tie = As good as the one before
label-earlier = One place up
label-later = One place down
label-submit = Keep
label-tie-rest = Rest equal
label-skip = Skip
label-skipped = Skipped
label-undo = Undo
label-revise = Revise
label-nothing = There is no earlier answer on this page.
label-reason = Why? (if you like)
label-kept = Next one.
label-progress = %1 of %2 answered
label-own = Your answers
label-standing = Everybody
label-who = Name
label-people = Together: %1 of %2 prompts.
label-agreement-few = Too few prompts were ranked by two people to say how far they agree.
label-agreement-two = %1 prompts were ranked by two or more: Krippendorff’s alpha %2, Kendall’s tau %3.
label-agreement-self = With their own earlier answers people agree on %1 prompts with a tau of %2.
label-agreement-hint = 1 is full agreement, 0 is chance. Some prompts go to two people, and some come back to the same person.
label-all-done = Nothing is left to rank
label-all-done-hint = All of it is kept. Whoever runs the rounds can go on; more may come.
label-look-again = Look again
label-role-user = Person
label-role-assistant = Model
label-role-system = Instructions
label-key-name = the best one first, then the next; the last one is placed by itself
label-key-tie = the next one is as good as the one before
label-key-rest = the rest is equally good
label-key-submit = keep the order (of two answers, one key is enough)
label-key-back = take the last place back
label-key-skip = skip; revise the last answer
label-key-reason = give a reason; what to look at
label-key-move = move the number that has the focus
label-problem-store-busy = Another program is writing the comparisons. Your answer is not kept yet: send it again when that program has ended.
label-problem-answered-before = You answered this before, and otherwise. Revise that answer under “Your answers”.
label-problem-others-answer = This answer is somebody else’s.
label-problem-answer-not-found = This is no longer among what is asked. Load the page anew.
label-problem-nothing-to-rank = Nothing waits to be ranked yet: `scribe rounds` makes answers where the recipe’s labeler is people.
label-no-run-title = Nothing to rank here
label-no-run = This server was started without a run. Start it with scribe serve --run and the folder of a run.
label-needs-script = This page needs JavaScript. In the terminal, scribe compare rank asks the same.

number = { $number }
reward-title = Reward models of { $round }
reward-state = { $comparisons } comparisons were learned from; measured on { $pairs } pairs of { $prompts } prompts that were held out.
reward-model = Model { $number } agrees with people
reward-error = Its confidence is off by
reward-ahead = It is ahead of: { $name }
reward-length = length alone
reward-bigrams = bag of bigrams
reward-dpo = DPO on the same pairs
reward-between = { $share } ({ $low } to { $high })
reward-calibration = Is it as sure as it is right?
reward-calibration-words = How sure the model is and how often it is right are { $error } apart on average.
reward-perfect = as sure as right
reward-sure = how sure it is
reward-right = How often it is right
report-title = Training of { $run }
report-title-answers = Fine-tuning of { $run }
report-title-policy = Round { $round } of { $run }: learning from people
report-title-trial = Trial { $seed } of { $run }: following a weak reward model too far
report-trial-hint = From left to right, away from the model that was taught: what the reward model says of held-out answers, and what the judge says who was not learned from.
report-arm-one = One reward model
report-arm-mean = The mean of five
report-arm-worst = The worst of five
report-arm-uncertain = The mean of five, less their variance
report-score = Score
report-reward = Reward
report-score-reward = Score, and reward after the price of drift
report-kl = KL of an answer, in nats
report-target = target
report-price = Price of a nat
report-entropy = Entropy, in nats a token
report-clip = Share of tokens clipped
report-of-policy = policy
report-of-values = values
report-value-loss = Loss of the values
report-explained = Variance of returns explained
report-answer-tokens = Tokens of an answer
report-ended = Share of answers that end
report-goodhart = What is gained, and what was meant
report-distance = √KL from the reference
report-proxy = score
report-judge = judge
report-law = fit
report-best-of = best of n
report-judge-gain = Gained, by the judge
report-peak = Peak foretold at KL
report-win-rate = Pairs won at the gate
report-win-rate-matched = Won, of one length
report-answers = Answers of a step
report-epochs = Epochs
report-minibatches = Minibatches
report-clip-range = Clip range
report-average = Moving average
report-beside = Text beside
report-finished = Finished after { $done ->
    [one] one step
   *[other] { $done } steps
  }
report-stopped = Stopped after { $done } of { $steps } steps
report-curves = Curves
report-curve = { $name }: { $first } at { $from }, { $last } at { $to }, least { $least }.
report-loss = Loss
report-held-out = Loss on held-out text
report-bits = Bits per byte, held out
report-rate = Learning rate
report-norm = Gradient norm
report-learned = learned text
report-held-out-text = held-out text
report-step = step
report-parameters = Parameters
report-tokens = Tokens
report-time = Time
report-speed = Tokens per second
report-samples = Samples
report-samples-hint = In bold what the model was given; the rest is what it wrote.
report-recipe = Recipe
report-text = Text
report-vocabulary = Vocabulary
report-layers = Layers
report-width = Width
report-heads = Heads
report-context = Context, in tokens
report-steps = Steps
report-rows = Rows × tokens of a step
report-optimizer = Optimizer
report-schedule = Schedule
report-constant = constant
report-linear = linear
report-cosine = cosine
report-decay = decay at the end
report-warmup = Warm-up
report-warmup-steps = { $steps ->
    [one] one step
   *[other] { $steps } steps
  }
report-seed = Seed
report-adapter = Adapter (LoRA)
report-adapter-values = rank { $rank }, alpha { $alpha }
report-adapter-targets = Beside the matrices
card-title = Report card of { $run }
card-stages = What was made
card-stage = Stage
card-stage-tokenizer = Tokenizer
card-stage-corpus = Corpus
card-stage-pretraining = Pretraining
card-stage-answers = Fine-tuning
card-absent = not in the recipe
card-no-time = not timed
card-this = { $run } (this model)
card-bits-hint = How many bits a byte of held-out text takes: the fewer, the better. The others have learned from the same text.
card-answers-before = Loss on held-out answers, before
card-answers-after = Loss on held-out answers, after
card-cut = Conversations cut, longer than a row
card-answers = Answers
card-answers-hint = Nobody taught the model these questions.
card-question = Question
card-answer = The model’s answer
card-expected = What was to be said
card-next = Next
