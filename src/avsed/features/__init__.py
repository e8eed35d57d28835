"""From sound to feature sequences: one extractor a file, a store that keeps their results, parallel extraction.

``sequence``     what every extractor returns, and what an extractor is
``logmel``       the log-mel map of the paper's spectral input
``kernels``      its compiled loops
``standardise``  mean and deviation of each band over the training clips
``store``        one file a clip and extractor, keyed by content, parameters and version
``pretrained``   what an extractor with a pretrained network is
``weights``      the files its network is filled with: named, licensed, hash-checked
``fetching``     those files from their publishers, whole or not at all
``vgg16``, ``efficientnet_lite``   the eyes
``vggish``, ``efficientat``, ``aisfx``   the ears
``spectrum``     mel spectra and chunks of them, which the ears share
``mobilenet``    EfficientAT's network
``extraction``   many clips and several extractors in one pass, with progress, resumption and a list of failures
``decoding_pass``   what a worker process does with one recording
``embedding``    networks on batches that mix recordings
``bookkeeping``  what is known of each clip of an extraction, and its result
``live``         features of one recording of any length, stretch by stretch
``options``      all extractors by name, and what can be chosen about each; without PyTorch
``extractors``   an extractor made from a configuration, or as a trained system tells of it
``provenance``   which networks may have learned from the recordings they are tested on
"""
