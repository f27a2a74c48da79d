// Tables that the server shares with its pages. Written by `npm run fix` from src/contracts and src/jobs/names.ts.
import type { PageMetric } from '../contracts/metrics.ts';
import type { SamplingFormField } from '../contracts/sampling-fields.ts';
import type { FormField } from '../contracts/training-fields.ts';

export const SAMPLING_FIELDS: readonly SamplingFormField[] = [
  {"name":"temperature","label":"Temperature","min":0,"max":2,"standard":"1","isOpenAi":true},
  {"name":"top_p","label":"Top p","min":0,"max":1,"standard":"1","isOpenAi":true},
  {"name":"top_k","label":"Top k","min":0,"isInteger":true,"standard":"off","isAdvanced":true},
  {"name":"min_p","label":"Min p","min":0,"max":1,"standard":"off","isAdvanced":true},
  {"name":"presence_penalty","label":"Presence penalty","min":-2,"max":2,"standard":"0","isOpenAi":true,"isAdvanced":true},
  {"name":"frequency_penalty","label":"Frequency penalty","min":-2,"max":2,"standard":"0","isOpenAi":true,"isAdvanced":true},
  {"name":"repetition_penalty","label":"Repetition penalty","min":0,"max":1000,"standard":"1","isAdvanced":true},
];

export const METRICS: readonly PageMetric[] = [
  {"name":"train_loss","label":"Training loss","curve":"loss"},
  {"name":"train_mean_token_accuracy","label":"Training accuracy","curve":"accuracy","unit":"share"},
  {"name":"full_valid_loss","label":"Validation loss","curve":"loss"},
  {"name":"full_valid_mean_token_accuracy","label":"Validation accuracy","curve":"accuracy","unit":"share"},
  {"name":"rewards/chosen","label":"Preferred","curve":"rewards"},
  {"name":"rewards/rejected","label":"Non-preferred","curve":"rewards"},
  {"name":"rewards/margins","label":"Margin","curve":"rewards"},
  {"name":"train_mean_reward","label":"Training reward","curve":"reward"},
  {"name":"full_valid_mean_reward","label":"Validation reward","curve":"reward"},
  {"name":"completion_tokens_mean","label":"Mean tokens","curve":"length"},
];

export const FORM_FIELDS: readonly FormField[] = [
  {"id":"n_epochs","label":"Epochs","parent":"hyperparameters","objectives":["supervised","dpo","reinforcement"],"placeholder":"3","min":1,"max":50,"isInteger":true},
  {"id":"batch_size","label":"Batch size","parent":"hyperparameters","objectives":["supervised","dpo","reinforcement"],"placeholder":"8","min":1,"max":256,"isInteger":true},
  {"id":"learning_rate_multiplier","label":"Learning rate multiplier","parent":"hyperparameters","objectives":["supervised","dpo","reinforcement"],"placeholder":"1","min":0,"max":1000000},
  {"id":"beta","label":"Beta","parent":"hyperparameters","objectives":["dpo"],"placeholder":"0.1","min":0,"max":2},
  {"id":"compute_multiplier","label":"Compute multiplier","parent":"hyperparameters","objectives":["reinforcement"],"placeholder":"1","min":0.00001,"max":10},
  {"id":"eval_samples","label":"Rows per validation","parent":"hyperparameters","objectives":["reinforcement"],"placeholder":"all","min":1,"max":1000000,"isInteger":true},
  {"id":"reasoning_effort","label":"Reasoning effort","parent":"hyperparameters","objectives":["reinforcement"],"placeholder":"default","options":["low","medium","high"]},
  {"id":"eval_interval","label":"Validate after steps","parent":"hyperparameters","objectives":["reinforcement"],"placeholder":"an epoch","min":1,"max":10000000,"isInteger":true},
  {"id":"rank","label":"LoRA rank","parent":"lorikeet","objectives":["supervised","dpo","reinforcement"],"placeholder":"16","min":1,"max":512,"isInteger":true},
  {"id":"alpha","label":"LoRA alpha","parent":"lorikeet","objectives":["supervised","dpo","reinforcement"],"placeholder":"twice the rank","min":0,"max":65536},
  {"id":"compute","label":"Arithmetic","parent":"lorikeet","objectives":["supervised","dpo","reinforcement"],"placeholder":"float32","options":["float32","int8"]},
  {"id":"dropout","label":"LoRA dropout","parent":"lorikeet","objectives":["supervised","dpo"],"placeholder":"0","min":0,"max":1},
  {"id":"completions","label":"Completions per prompt","parent":"lorikeet","objectives":["reinforcement"],"placeholder":"8","min":2,"max":64,"isInteger":true},
  {"id":"completion_length","label":"Tokens per completion","parent":"lorikeet","objectives":["reinforcement"],"placeholder":"512","min":1,"max":65536,"isInteger":true},
  {"id":"seed","label":"Seed","parent":"job","objectives":["supervised","dpo","reinforcement"],"placeholder":"random","min":0,"max":2147483647,"isInteger":true},
];

export const FIELDLESS_SETTINGS = ["validation_split","method","loss","label_smoothing","targets","rslora","dora","lora_bias","bias","init","alora","train_head","train_embeddings","ensure_weight_tying","modules_to_save","gate"];

export const NAME_RULES = { suffix: /^(?!.*\.\.)[^/\\:\p{C}]{1,64}$/u, steps: [[/[^a-z0-9._-]+/g, "-"], [/^[^a-z0-9_]+/, ""], [/^(.{63}).+$/, "$1"], [/-+$/, ""]], name: /^(?!.*\.\.)(?!__proto__$)[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$/, reserved: ["base","default","ft"] };
