// In front of cuDNN 9's cudnn.h: declares the recurrent calls of cuDNN 8 that Jittor 1.3.11 names and
// cuDNN 9 has dropped. This project has no recurrent layer: they have to compile, and answer that they
// are not supported.
#pragma once
#include "../real/cudnn.h"
#if defined(__cplusplus) && CUDNN_MAJOR >= 9
#define LANDSCAPE_DROPPED(name)                          \
    template <class... Arguments>                        \
    inline cudnnStatus_t name(Arguments&&...) {          \
        return CUDNN_STATUS_NOT_SUPPORTED;               \
    }
LANDSCAPE_DROPPED(cudnnSetRNNDescriptor_v6)
LANDSCAPE_DROPPED(cudnnGetRNNParamsSize)
LANDSCAPE_DROPPED(cudnnGetRNNWorkspaceSize)
LANDSCAPE_DROPPED(cudnnGetRNNTrainingReserveSize)
LANDSCAPE_DROPPED(cudnnGetRNNLinLayerMatrixParams)
LANDSCAPE_DROPPED(cudnnGetRNNLinLayerBiasParams)
LANDSCAPE_DROPPED(cudnnRNNForwardTraining)
LANDSCAPE_DROPPED(cudnnRNNForwardInference)
LANDSCAPE_DROPPED(cudnnRNNBackwardData)
LANDSCAPE_DROPPED(cudnnRNNBackwardWeights)
#undef LANDSCAPE_DROPPED
#endif
