# Les mots des pages. Chaque clé existe dans chaque langue ; un test les compare.

other-language = English
other-language-hint = Show this page in English

site-name = Scribe
page-title = Scribe — discussion
skip-to-prompt = Aller au champ de message
conversation = Conversation
welcome = Que voulez-vous savoir ?
welcome-hint = Vous parlez avec { $model }. Ce que vous écrivez va à ce serveur et nulle part ailleurs.

example-capital = Quelle est la capitale de la France ?
example-sky = Pourquoi le ciel est-il bleu ? Explique-le à un enfant.
example-poem = Écris un court poème sur la mer.
example-list = Donne-moi trois idées pour un dimanche de pluie.

you = Vous
assistant = Scribe
prompt-label = Votre message
prompt-placeholder = Posez votre question
send = Envoyer
stop = Arrêter la réponse
answering = Scribe répond…
answer-ended = Fin de la réponse.
answer-stopped = Arrêté.
may-be-wrong = Le modèle peut se tromper. Vérifiez ce qui compte.
scroll-down = Aller au message le plus récent

new-chat = Nouvelle discussion
copy = Copier
copied = Copié
copy-answer = Copier la réponse
copy-code = Copier le code
regenerate = Écrire une autre réponse
edit = Modifier ce message
try-again = Réessayer
cancel = Annuler
close = Fermer

settings = Réglages
system-prompt = Consigne système
system-prompt-hint = Instructions que le modèle lit avant votre premier message.
temperature = Température
temperature-hint = 0 choisit toujours le mot le plus probable ; plus haut, c’est plus varié.
max-tokens = Longueur maximale, en jetons
max-tokens-hint = Vide : jusqu’à ce que le modèle s’arrête de lui-même.
whole-answers = N’afficher les réponses qu’une fois complètes
whole-answers-hint = Plus calme, et plus simple avec un lecteur d’écran.
reset = Valeurs par défaut
theme = Apparence
theme-system = Comme le système
theme-light = Claire
theme-dark = Sombre
shortcuts = Clavier
shortcut-send = envoyer le message
shortcut-newline = aller à la ligne
shortcut-stop = arrêter la réponse
shortcut-edit = modifier le dernier message (champ vide)
shortcut-new = nouvelle discussion
settings-kept = Les réglages restent dans ce navigateur.

key-title = Ce serveur demande une clé
key-hint = Elle a été choisie au démarrage du serveur. Elle ne reste que dans cet onglet.
key-label = Clé d’API
key-wrong = Cette clé n’a pas été acceptée. Vérifiez-la et saisissez-la de nouveau.
key-continue = Continuer

link-title = Ouvrir ce lien ?
link-hint = Son adresse contient plus que le nom d’une page ; regardez-la d’abord.
link-open = Ouvrir

figures = { $tokens ->
    [one] { $tokens } jeton
   *[other] { $tokens } jetons
  } · { $speed } jetons/s
figures-title = { $prompt ->
    [one] { $prompt } jeton lu
   *[other] { $prompt } jetons lus
  }, dont { $cached } déjà en mémoire ; { $tokens } écrits en { $seconds } s
dropped = { $dropped ->
    [one] Le message le plus ancien ne tient plus et n’a pas été envoyé au modèle.
   *[other] Les { $dropped } messages les plus anciens ne tiennent plus et n’ont pas été envoyés au modèle.
  }
length-reached = La réponse s’arrête ici : elle a atteint la longueur maximale permise.

error-network = Le serveur est injoignable. Vérifiez qu’il tourne, puis réessayez.
error-broken-off = La connexion s’est coupée avant la fin de la réponse. Réessayez.
error-queue-full = Le serveur est occupé. Réessayez dans { $seconds ->
    [one] une seconde
   *[other] { $seconds } secondes
  }.
error-shutting-down = Le serveur va s’arrêter. Réessayez dans un instant.
error-too-long = Ce message demande { $prompt } jetons, mais le modèle peut en lire { $context } en gardant la place d’une réponse. Raccourcissez-le.
error-engine = Le modèle a échoué sur cette demande. Réessayez.
error-engine-gone = Le modèle a échoué et n’a pas pu être relancé. La personne qui gère ce serveur doit le redémarrer.
error-empty = Écrivez d’abord un message.
error-invalid = Le serveur n’a pas compris la demande : { $message }
error-conversation-too-long = Cette conversation est trop longue pour être envoyée. Commencez une nouvelle discussion.
error-key = Ce serveur demande une clé. Saisissez-la et renvoyez le message.
error-unknown = Quelque chose n’a pas fonctionné. Réessayez.

not-found-title = Cette page n’existe pas
not-found = Il n’y a rien à cette adresse. La discussion, elle, existe.
loading-title = Un instant
loading = Le modèle est en cours de chargement. Cette page ouvrira la conversation d’elle-même dès qu’il sera prêt.
error-title = Cela n’a pas fonctionné
back-to-chat = Aller à la discussion
no-javascript = JavaScript est désactivé : les réponses apparaissent une fois complètes.

label-title = Classer des réponses
label-skip-to = Aller à la question et à ses réponses
label-intro = Vous voyez une question et des réponses, mélangées, sans savoir d’où elles viennent. Mettez la meilleure en premier.
label-name = Votre nom
label-name-hint = Il est gardé avec ce que vous dites, pour mesurer l’accord entre personnes.
label-begin = Commencer
label-change-name = Quelqu’un d’autre
label-resend = Renvoyer
label-guidelines = Ce qu’il faut regarder
label-guideline-question = Quelle réponse auriez-vous préféré recevoir ?
label-guideline-harm = Le tort : ce qui pourrait nuire à quelqu’un est le pire.
label-guideline-truth = Le vrai : ce qui trompe ou est inventé est pire que ce qui avoue ne pas savoir.
label-guideline-help = L’aide : elle fait ce qui était demandé, tout et rien de plus, clairement et brièvement.
label-guideline-ties = Si deux se valent, mettez-les à égalité. Si vous ne pouvez pas juger, passez. La longueur, l’ordre et le style ne décident de rien à eux seuls.
label-again = Vous avez déjà répondu ; ce que vous dites maintenant en prend la place.
label-prompt = Question
label-answers = Réponses
label-answer = Réponse %1
label-order-name = Votre ordre, la meilleure d’abord
label-order = Ordre : %1.
label-then = %1, puis %2
label-tied = %1 à égalité
label-off = Sans place : %1.
label-place = place %1
label-next-best = La suivante
label-better = Celle-ci est meilleure
label-tie = Aussi bonne que la précédente
label-earlier = Une place plus haut
label-later = Une place plus bas
label-submit = Garder
label-tie-rest = Reste égal
label-skip = Passer
label-skipped = Passé
label-undo = Revoir
label-revise = Revoir
label-nothing = Il n’y a pas de réponse plus ancienne sur cette page.
label-reason = Pourquoi ? (si vous voulez)
label-kept = La suivante.
label-progress = %1 sur %2
label-own = Vos réponses
label-standing = Tout le monde
label-who = Nom
label-people = Ensemble : %1 questions sur %2.
label-agreement-few = Trop peu de questions ont été classées par deux personnes pour mesurer leur accord.
label-agreement-two = %1 questions classées par deux personnes ou plus : alpha de Krippendorff %2, tau de Kendall %3.
label-agreement-self = Avec leurs propres réponses d’avant, l’accord sur %1 questions est un tau de %2.
label-agreement-hint = 1 est un accord total, 0 le hasard. Certaines questions vont à deux personnes, d’autres reviennent à la même.
label-all-done = Il ne reste rien à classer
label-all-done-hint = Tout est gardé. La personne qui mène les tours peut continuer ; il en viendra peut-être d’autres.
label-look-again = Regarder encore
label-role-user = Personne
label-role-assistant = Modèle
label-role-system = Consignes
label-key-name = la meilleure d’abord, puis la suivante ; la dernière se place d’elle-même
label-key-tie = la suivante vaut la précédente
label-key-rest = le reste se vaut
label-key-submit = garder l’ordre (de deux réponses, une touche suffit)
label-key-back = reprendre la dernière place
label-key-skip = passer ; revoir la dernière réponse
label-key-reason = donner une raison ; ce qu’il faut regarder
label-key-move = déplacer le numéro choisi
label-problem-store-busy = Un autre programme écrit les comparaisons. Votre réponse n’est pas encore gardée : renvoyez-la quand il aura fini.
label-problem-answered-before = Vous avez déjà répondu, et autrement. Revoyez cette réponse sous « Vos réponses ».
label-problem-others-answer = Cette réponse est celle de quelqu’un d’autre.
label-problem-answer-not-found = Cela n’est plus demandé. Rechargez la page.
label-problem-nothing-to-rank = Rien n’attend encore d’être classé : `scribe rounds` écrit des réponses quand la recette confie le classement à des personnes.
label-no-run-title = Rien à classer ici
label-no-run = Ce serveur a démarré sans entraînement. Lancez-le avec scribe serve --run et le dossier d’un entraînement.
label-needs-script = Cette page demande JavaScript. Dans le terminal, scribe compare rank pose les mêmes questions.

number = { $number }
reward-title = Modèles de récompense de { $round }
reward-state = Appris de { $comparisons } comparaisons ; mesuré sur { $pairs } paires de { $prompts } questions mises de côté.
reward-model = Le modèle { $number } est d’accord avec les personnes
reward-error = Écart de sa confiance
reward-ahead = Son avance sur : { $name }
reward-length = la longueur seule
reward-bigrams = sac de bigrammes
reward-dpo = DPO sur les mêmes paires
reward-between = { $share } ({ $low } à { $high })
reward-calibration = Est-il aussi sûr qu’il a raison ?
reward-calibration-words = L’assurance du modèle et la fréquence à laquelle il a raison diffèrent de { $error } en moyenne.
reward-perfect = aussi sûr que juste
reward-sure = assurance du modèle
reward-right = Fréquence à laquelle il a raison
report-title = Apprentissage de { $run }
report-title-answers = Spécialisation de { $run }
report-title-policy = Tour { $round } de { $run } : apprendre des gens
report-title-trial = Essai { $seed } de { $run } : suivre trop loin un mauvais modèle de récompense
report-trial-hint = De gauche à droite, en s’éloignant du modèle de départ : ce que le modèle de récompense dit de réponses réservées, et ce qu’en dit le juge dont on n’a rien appris.
report-arm-one = Un modèle de récompense
report-arm-mean = La moyenne de cinq
report-arm-worst = Le pire de cinq
report-arm-uncertain = La moyenne de cinq, moins leur variance
report-score = Score
report-reward = Récompense
report-score-reward = Score, et récompense une fois l’écart payé
report-kl = KL d’une réponse, en nats
report-target = cible
report-price = Prix d’un nat
report-entropy = Entropie, en nats par jeton
report-clip = Part des jetons bornés
report-of-policy = politique
report-of-values = valeurs
report-value-loss = Perte des valeurs
report-explained = Variance des retours expliquée
report-answer-tokens = Jetons d’une réponse
report-ended = Part des réponses finies
report-goodhart = Ce qui est gagné, et ce qui était voulu
report-distance = √KL depuis la référence
report-proxy = score
report-judge = juge
report-law = loi
report-best-of = choisies
report-judge-gain = Gain, selon le juge
report-peak = Sommet prédit à KL
report-win-rate = Paires gagnées à l’entrée
report-win-rate-matched = Gagnées, à longueur égale
report-answers = Réponses d’un pas
report-epochs = Passages
report-minibatches = Sous-lots
report-clip-range = Borne du rapport
report-average = Moyenne mobile
report-beside = Texte à côté
report-finished = Terminé après { $done ->
    [one] un pas
   *[other] { $done } pas
  }
report-stopped = Arrêté après { $done } pas sur { $steps }
report-curves = Courbes
report-curve = { $name } : { $first } à { $from }, { $last } à { $to }, au moins { $least }.
report-loss = Perte
report-held-out = Perte, texte réservé
report-bits = Bits par octet, texte réservé
report-rate = Taux d’apprentissage
report-norm = Norme du gradient
report-learned = texte appris
report-held-out-text = texte réservé
report-step = pas
report-parameters = Paramètres
report-tokens = Jetons
report-time = Durée
report-speed = Jetons par seconde
report-samples = Essais
report-samples-hint = En gras ce que le modèle a reçu ; la suite est ce qu’il a écrit.
report-recipe = Recette
report-text = Texte
report-vocabulary = Vocabulaire
report-layers = Couches
report-width = Largeur
report-heads = Têtes
report-context = Contexte, en jetons
report-steps = Pas
report-rows = Lignes × jetons d’un pas
report-optimizer = Optimiseur
report-schedule = Variation du taux
report-constant = constante
report-linear = linéaire
report-cosine = cosinus
report-decay = baisse à la fin
report-warmup = Montée en régime
report-warmup-steps = { $steps ->
    [one] un pas
   *[other] { $steps } pas
  }
report-seed = Graine
report-adapter = Adaptateur (LoRA)
report-adapter-values = rang { $rank }, alpha { $alpha }
report-adapter-targets = À côté des matrices
card-title = Bulletin de { $run }
card-stages = Ce qui a été fait
card-stage = Étape
card-stage-tokenizer = Découpage en jetons
card-stage-corpus = Corpus
card-stage-pretraining = Apprentissage
card-stage-answers = Spécialisation
card-absent = pas dans la recette
card-no-time = non mesurée
card-this = { $run } (ce modèle)
card-bits-hint = Combien de bits prend un octet de texte réservé : moins il y en a, mieux c’est. Les autres ont appris du même texte.
card-answers-before = Perte sur les réponses réservées, avant
card-answers-after = Perte sur les réponses réservées, après
card-cut = Conversations coupées, plus longues qu’une ligne
card-answers = Réponses
card-answers-hint = Personne n’a appris ces questions au modèle.
card-question = Question
card-answer = Réponse du modèle
card-expected = Ce qu’il fallait dire
card-next = Et ensuite
